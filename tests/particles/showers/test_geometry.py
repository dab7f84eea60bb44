"""The XML of the CaloChallenge."""

import numpy as np
import pytest

from statecast.particles.showers.geometry import Geometry, ShowerError, read_geometry, shipped_geometries


def test_a_geometry_knows_the_place_of_each_voxel(tiny):
    geometry = read_geometry(tiny / "tiny.xml", "electron")
    assert (geometry.shape, geometry.voxels, geometry.spans[1]) == ((3, 4, 2), 24, slice(8, 16))
    x, y = geometry.centres_mm
    radius, alpha = np.hypot(x, y), np.arctan2(y, x)
    np.testing.assert_allclose(radius[:4], [10, 40, 10, 40])  # r runs fastest, then alpha
    np.testing.assert_allclose(alpha[:8:2], np.pi * np.array([-3, -1, 1, 3]) / 4)


def test_layers_may_differ_but_then_have_no_grid(tiny):
    photon = read_geometry(tiny / "tiny.xml", "photon")
    assert (photon.voxels, photon.spans) == (2, (slice(0, 2), slice(2, 2)))
    with pytest.raises(ShowerError, match="layers of the geometry have different numbers"):
        _ = photon.shape


def test_what_is_written_is_read_again(tmp_path, tiny):
    geometry = read_geometry(tiny / "tiny.xml", "electron")
    (tmp_path / "again.xml").write_text(geometry.xml())
    assert read_geometry(tmp_path / "again.xml") == geometry
    assert Geometry.of(geometry.particle, geometry.as_lists()) == geometry


def test_shipped_geometries_are_as_their_names_say():
    shapes = {name: read_geometry(name).shape for name in shipped_geometries()}
    assert shapes == {"small": (12, 8, 5), "other": (15, 6, 5), "dataset-2-like": (45, 16, 9)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<Bins>", "<Bins", "is no XML"),
        ('name="electron"', 'name="muon"', "has no particle electron, only muon, photon"),
        ('name="photon"', 'name="electron"', "has several entries of electron"),
        ("0,20,60", "0,60,20", "r_edges do not increase"),
        ("0,20,60", "0,twenty", "expected numbers in mm"),
        ('n_bin_alpha="4"', 'n_bin_alpha="0"', "0 bins in alpha"),
        ('n_bin_alpha="4"', "", "n_bin_alpha '', expected a whole number"),
        ('id="1"', 'id="7"', "expected 0, 1, 2"),
    ],
)
def test_a_geometry_that_is_none_is_refused_in_one_line(tiny, tmp_path, old, new, message):
    (tmp_path / "bad.xml").write_text((tiny / "tiny.xml").read_text().replace(old, new))
    with pytest.raises(ShowerError, match=message) as error:
        read_geometry(tmp_path / "bad.xml", "electron")
    assert "\n" not in str(error.value) and "bad.xml" in str(error.value)


def test_a_particle_has_to_be_named_where_there_are_several(tiny):
    with pytest.raises(ShowerError, match=r"several particles \(electron, photon\)"):
        read_geometry(tiny / "tiny.xml")
    with pytest.raises(ShowerError, match="ships with statecast"):
        read_geometry("no-such-geometry")
