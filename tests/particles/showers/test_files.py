"""Files of the CaloChallenge: reading in blocks, writing, describing, and what is refused."""

import h5py
import numpy as np
import pytest

from statecast.describers import describe_data
from statecast.particles.showers.geometry import ShowerError, read_geometry
from statecast.particles.showers.sources import files
from statecast.particles.showers.sources.files import Showers, open_showers, write_showers


def changed(tiny, path, change):
    """A copy of the file, with `change` applied to its two arrays."""
    with h5py.File(tiny / "showers.hdf5") as file:
        arrays = {name: file[name][:] for name in file}
    change(arrays)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def test_showers_are_read_in_blocks_of_bounded_size(tiny, monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", 8 * 24 * 50)
    found = open_showers([tiny / "showers.hdf5", tiny / "showers.hdf5"])
    blocks = list(found.blocks(100, 399))
    assert len(found) == 480 and max(map(len, blocks)) == 50
    whole = Showers.joined(blocks)
    once = open_showers(tiny / "showers.hdf5").read()
    assert len(whole) == 300 and (whole.voxels_mev[:140] == once.voxels_mev[100:]).all()
    every = found.read(1, 479, step=7)
    np.testing.assert_array_equal(every.incident_mev, np.tile(once.incident_mev, 2)[1::7])


def test_what_is_written_is_read_again_to_the_bit(tiny, tmp_path):
    showers = open_showers(tiny / "showers.hdf5").read()
    write_showers(tmp_path / "again.h5", iter([showers[:100], showers[100:]]), 240, 24, {})
    again = open_showers(tmp_path / "again.h5").read()
    assert (again.incident_mev == showers.incident_mev).all() and (again.voxels_mev == showers.voxels_mev).all()
    with h5py.File(tmp_path / "again.h5") as file:
        assert file["incident_energies"].shape == (240, 1) and file["showers"].shape == (240, 24)


def to_gev(arrays):
    arrays["incident_energies"] /= 1000
    arrays["showers"] /= 1000


def incident_to_gev(arrays):
    arrays["incident_energies"] /= 1000


def negative(arrays):
    arrays["showers"][7, 3] = -1


def without_energy(arrays):
    arrays["incident_energies"][5] = 0


def renamed(arrays):
    arrays["voxels"] = arrays.pop("showers")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (to_gev, "they seem to be in GeV. Set data.unit to GeV"),
        (incident_to_gev, "one of the two is in GeV, the other in MeV"),
        (negative, "shower 7 has the voxel -1"),
        (without_energy, "shower 5 has the incident energy 0"),
        (renamed, "has no array showers"),
    ],
)
def test_a_file_that_can_not_be_meant_is_refused(tiny, tmp_path, change, message):
    path = changed(tiny, tmp_path / "bad.h5", change)
    with pytest.raises(ShowerError, match=message):
        open_showers(path).read()


def test_a_file_in_gev_is_converted_where_the_recipe_says_so(tiny, tmp_path):
    path = changed(tiny, tmp_path / "gev.h5", to_gev)
    np.testing.assert_allclose(
        open_showers(path, unit="GeV").read().voxels_mev,
        open_showers(tiny / "showers.hdf5").read().voxels_mev,
        rtol=1e-6,
    )


def test_a_file_of_another_geometry_is_refused(tiny):
    with pytest.raises(ShowerError, match="has 24 voxels, expected 480 by its geometry for electron"):
        open_showers(tiny / "showers.hdf5", read_geometry("small"))
    with pytest.raises(ShowerError, match="does not exist"):
        open_showers(tiny / "gone.hdf5")
    with pytest.raises(ShowerError, match="is no HDF5 file"):
        open_showers(tiny / "tiny.xml")


def test_describing_tells_what_is_in_a_file(tiny, tmp_path):
    text = str(describe_data(str(tiny / "showers.hdf5")))
    assert "240 in" in text and "24 in a shower" in text and "remark" not in text
    doubtful = changed(tiny, tmp_path / "gev.h5", to_gev)
    assert "seem to be in GeV" in str(describe_data(str(doubtful)))
    assert "12 layers × 8 alphas × 5 rings" in str(describe_data(str(_shipped("small"))))


def _shipped(name):
    from statecast.particles.showers.geometry import shipped_geometries

    return shipped_geometries()[name]
