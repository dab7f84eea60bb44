"""What is in files of jets, in words."""

import awkward as ak
import h5py
import numpy as np
import pytest
from rich.console import Console

from statecast.particles.sources import describe as describe_module  # the module
from statecast.particles.sources.describe import describe, recognises


def test_real_jets_of_jetclass2_are_described(real):
    found = describe(str(real / "jetclass2_6_jets.parquet"))
    assert (found.layout, found.jets, found.inspected, found.unit) == ("JetClass-II", 6, 6, "GeV")
    assert found.classes["X_YY_see"] == 1 and sum(found.classes.values()) == 6
    assert sum(found.kinds.values()) == pytest.approx(1) and found.kinds["photon"] > 0.2
    by_name = {(each.owner, each.name): each for each in found.columns}
    assert by_name["particle", "d0_mm"].missing == pytest.approx(
        1 - found.kinds["charged hadron"] - found.kinds["electron"] - found.kinds["muon"]
    )
    assert by_name["jet", "pt_gev"].lowest == pytest.approx(202.3, abs=0.1)
    text = str(found)
    for part in ("JetClass-II", "6 in ", "in a jet", "soft_drop_mass_gev", "charged hadron", "X_YY_see 1"):
        assert part in text


def test_rules_and_remarks_are_shown(real):
    text = str(describe(str(real / "pfnano_1_event.root")))
    assert "2 jets sorted by decreasing pT" in text and "multiplied by their PUPPI weight" in text and "FatJet" in text


def test_jets_without_particles_are_described_by_their_own_columns(real):
    found = describe(str(real / "nanoaod_20_events.root"))
    assert found.layout == "NanoAOD without constituents" and "plain NanoAOD" in found.lacks
    assert {each.owner for each in found.columns} == {"jet"} and "none. " in str(found)


def test_the_sample_is_bounded(jetclass, parquet, monkeypatch):
    monkeypatch.setattr(describe_module, "SAMPLED_JETS", 5)
    found = describe(str(parquet(jetclass(20))))
    assert found.jets == 20 and found.inspected == 5


def test_many_files_and_many_classes_are_shortened(jetclass, parquet, drop, tmp_path):
    for number in range(2):
        table = jetclass(20, seed=number)
        plain = drop(table, [name for name in table.fields if name.startswith("label_")])
        parquet(ak.with_field(plain, np.arange(20), "jet_label"), f"{number}.parquet")
    text = str(describe(str(tmp_path)))
    assert "40 in 2 files from" in text and "and 8 more" in text


def test_rich_prints_what_text_says(real):
    found = describe(str(real / "jetclass2_6_jets.parquet"))
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(found)
    assert capture.get() == str(found)


def test_files_of_jets_are_recognised_and_stores_of_fields_are_not(real, tmp_path, make_store, jetclass, parquet):
    store = make_store(steps=2)
    store.to_netcdf(tmp_path / "fields.nc")
    store.to_netcdf(tmp_path / "fields.h5", engine="netcdf4")
    store.to_zarr(tmp_path / "fields.zarr", consolidated=False)
    with h5py.File(tmp_path / "jets.h5", "w") as file:
        file["data"] = np.zeros((2, 3, 4))
    (tmp_path / "renamed.dat").write_bytes(parquet(jetclass(3)).read_bytes())
    jets = [
        str(real),
        str(real / "pfnano_1_event.root"),
        f"{tmp_path}/*.parquet",
        f"{tmp_path}/jets.h5",
        "gone.root",
        "gone/*.parquet",
    ]
    fields = [
        f"{tmp_path}/fields.nc",
        f"{tmp_path}/fields.h5",
        f"{tmp_path}/fields.zarr",
        "sample:atmosphere",
        "gone.nc",
        "s3://bucket/era5.zarr",
    ]
    assert {name: recognises(name) for name in jets} == dict.fromkeys(jets, True)
    assert {name: recognises(name) for name in fields} == dict.fromkeys(fields, False)
    assert recognises(str(tmp_path / "renamed.dat"))  # by its first bytes
