"""Many files as one record: which files, which jets, in how much memory."""

import tracemalloc

import awkward as ak
import h5py
import numpy as np
import pytest

from statecast.particles.jets import JetError, Jets
from statecast.particles.sources import files as files_module
from statecast.particles.sources import open_jets, read_jets
from statecast.particles.sources.files import find_files
from statecast.particles.sources.parquet import ParquetTable


def same(one: Jets, other: Jets) -> bool:
    columns = [(one.particles, other.particles), (one.of_jets, other.of_jets)]
    equal = all(np.array_equal(a[name], b[name], equal_nan=True) for a, b in columns for name in a)
    return equal and np.array_equal(one.offsets, other.offsets) and np.array_equal(one.labels, other.labels)


@pytest.fixture
def three(jetclass, parquet, tmp_path):
    """Three files with 20, 7 and 13 jets; the paths and all their jets."""
    paths = [
        parquet(jetclass(count, seed=count), f"part_{place}.parquet", row_group_size=6)
        for place, count in enumerate((20, 7, 13))
    ]
    return paths, Jets.joined([read_jets(path) for path in paths])


def test_a_path_a_list_a_directory_and_a_pattern_mean_the_same_files(three, tmp_path):
    paths, every = three
    assert find_files(str(paths[0])) == [paths[0]] and find_files(paths) == paths
    assert find_files(tmp_path) == paths == find_files(f"{tmp_path}/part_*.parquet")
    for files in (paths, tmp_path, f"{tmp_path}/part_*.parquet"):
        opened = open_jets(files)
        assert len(opened) == 40 and same(opened.read(), every)


@pytest.mark.parametrize("block_bytes", [1e4, 1e9])
@pytest.mark.parametrize("size", [1, 9, 100])
def test_chunks_hold_the_same_jets_whatever_their_size_and_that_of_a_block(three, monkeypatch, size, block_bytes):
    monkeypatch.setattr(files_module, "BLOCK_BYTES", block_bytes)
    paths, every = three
    chunks = list(open_jets(paths).chunks(size))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert same(Jets.joined(chunks), every)


@pytest.mark.parametrize("kind", ["root", "parquet"])
@pytest.mark.parametrize(("first", "last"), [(0, 1), (5, 6), (11, 99)])
def test_a_range_of_jets_is_what_it_is_in_the_whole(request, jetclass, kind, first, last, monkeypatch):
    monkeypatch.setattr(files_module, "BLOCK_BYTES", 1e4)
    files = open_jets(request.getfixturevalue(kind)(jetclass(20)))
    assert same(files.read(first, last), files.read()[first:last])
    assert same(Jets.joined(list(files.chunks(3, first=first, last=last))), files.read()[first:last])


def test_a_range_may_span_files(three):
    paths, every = three
    assert same(read_jets(paths, 18, 30), every[18:30])


def test_a_dropped_jet_keeps_its_number(jetclass, parquet):
    table = jetclass(6)
    px = table["part_px"].to_list()
    px[2] = [float("nan")] * len(px[2])
    files = open_jets(parquet(ak.with_field(table, ak.values_astype(ak.Array(px), "float32"), "part_px")))
    assert len(files) == 6 and len(files.read()) == 5
    assert len(files.read(2, 4)) == 1 and files.read(3, 4).of_jets["pt_gev"][0] == table["jet_pt"][3]


def test_the_first_chunk_does_not_read_the_file(jetclass, parquet, monkeypatch):
    monkeypatch.setattr(files_module, "BLOCK_BYTES", 2e4)
    entries = []
    blocks = ParquetTable.blocks

    def counted(self, *arguments):
        for block in blocks(self, *arguments):
            entries.append(len(block["part_px"]))
            yield block

    monkeypatch.setattr(ParquetTable, "blocks", counted)
    files = open_jets(parquet(jetclass(800)))
    assert sum(entries) == 0
    chunks = files.chunks(100)
    next(chunks)
    assert 100 <= sum(entries) < 200
    for _ in chunks:
        pass
    assert sum(entries) == 800 and max(entries) < 100


def test_memory_is_bounded_by_the_chunk_and_not_by_the_file(tmp_path, monkeypatch):
    """Reading eight times as many jets takes no more memory at a time."""
    monkeypatch.setattr(files_module, "BLOCK_BYTES", 1e5)
    random = np.random.default_rng(0)
    peaks = []
    for count in (1_000, 8_000):
        path = tmp_path / f"{count}.h5"
        data = np.zeros((count, 30, 4), np.float32)
        data[:, :, :2] = random.normal(0, 0.1, (count, 30, 2))
        data[:, :, 2:] = random.normal(3, 0.3, (count, 30, 1))
        with h5py.File(path, "w") as file:
            file["data"], file["pid"] = data, np.zeros(count, int)
        files = open_jets(path)
        next(files.chunks(100))  # imports
        tracemalloc.start()
        assert sum(len(chunk) for chunk in files.chunks(100)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] and peaks[1] < 0.5 * data.nbytes


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("nowhere.root", "file .*nowhere.root: does not exist"),
        ("nothing/*.parquet", "nothing matches this pattern"),
        ([], "none is given"),
        ("sample:top", r"no such sample of jets. Samples: sample:jets"),
        ("https://example.org/jets.root", "is not on this machine"),
    ],
)
def test_files_that_are_not_there_are_refused(files, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JetError, match=message):
        open_jets(files)


def test_a_file_given_twice_and_a_directory_without_files_are_refused(three, tmp_path):
    with pytest.raises(JetError, match=r"part_0.parquet: is given 2 times"):
        open_jets([three[0][0], three[0][1], three[0][0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(JetError, match=r"empty: holds no file with one of the endings .root"):
        open_jets(tmp_path / "empty")


def test_files_of_two_layouts_are_refused(jetclass, parquet, real):
    with pytest.raises(JetError, match=r"has the layout JetClass-II, expected JetClass as in .*jets.parquet"):
        open_jets([parquet(jetclass()), real / "jetclass2_6_jets.parquet"])


@pytest.mark.parametrize("content", [b"", b"no jets", b"root", b"PAR1PAR1", b"\x89HDF\r\n\x1a\n" + bytes(50)])
@pytest.mark.parametrize("ending", ["root", "parquet", "h5"])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, content, ending):
    path = tmp_path / f"jets.{ending}"
    path.write_bytes(content)
    with pytest.raises(
        JetError, match=r"is no Parquet, ROOT or HDF5 file|cannot be read as a|holds no tree|of no known layout"
    ) as raised:
        open_jets(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_a_file_that_is_cut_off_is_refused_in_one_line(request, jetclass, kind):
    path = request.getfixturevalue(kind)(jetclass(500))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JetError, match="cannot be read as a") as raised:
        read_jets(path)
    assert "\n" not in str(raised.value)


def test_a_file_with_damaged_columns_is_refused_when_they_are_read(jetclass, parquet):
    """Parquet can keep a checksum of each page; without it, a damaged number is a number."""
    path = parquet(jetclass(500), write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[1000:6000] = bytes(5000)
    path.write_bytes(content)
    files = open_jets(path)
    with pytest.raises(JetError, match="cannot be read as a Parquet file"):
        files.read()


def test_columns_of_no_layout_are_refused_with_the_likeliest(root):
    table = ak.Array({"jets_pt": [[1.0], [2.0]], "weight": [1.0, 2.0]})
    with pytest.raises(
        JetError, match=r"of no known layout, expected such as part_px.*The likeliest of its columns: .*jets_pt"
    ) as raised:
        open_jets(root(table))
    assert "\n" not in str(raised.value)


def test_a_tree_is_chosen_by_name(jetclass, root):
    path = root(jetclass(5), tree="jets")
    assert len(open_jets(path, tree="jets")) == 5
    with pytest.raises(JetError, match=r"has no tree events. Trees: jets"):
        open_jets(path, tree="events")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"unit": "keV"}, "unit: keV is not known"), ({"most_constituents": 0}, "most_constituents: is 0")],
)
def test_options_out_of_range_are_refused(jetclass, parquet, options, message):
    with pytest.raises(JetError, match=message):
        open_jets(parquet(jetclass()), **options)


def test_a_missing_package_names_the_extra(jetclass, root, monkeypatch):
    path = root(jetclass())
    monkeypatch.setitem(__import__("sys").modules, "uproot", None)
    with pytest.raises(JetError, match=r"ROOT files: need uproot.*pip install 'statecast\[hep\]'"):
        open_jets(path)


def test_momenta_in_mev_are_noticed_and_converted_on_request(jetclass, parquet):
    table = jetclass()
    in_mev = table
    for name in ("part_px", "part_py", "part_pz", "part_energy", "jet_pt", "jet_energy", "jet_sdmass"):
        in_mev = ak.with_field(in_mev, table[name] * 1000, name)
    path = parquet(in_mev, "mev.parquet")
    with pytest.raises(JetError, match=r"half of the jets have a pT above .* if the file is in GeV.*give unit MeV"):
        read_jets(path)
    files, expected = open_jets(path, unit="MeV"), read_jets(parquet(table))
    jets = files.read()
    assert files.rules.counts["jets converted to GeV"] == 20
    for name in ("pt_gev", "eta"):
        np.testing.assert_allclose(jets.particles[name], expected.particles[name], rtol=1e-5)
    np.testing.assert_allclose(jets.of_jets["soft_drop_mass_gev"], table["jet_sdmass"], rtol=1e-5)
    np.testing.assert_array_equal(jets.particles["d0_mm"], expected.particles["d0_mm"])
    with pytest.raises(JetError, match=r"if the file is in MeV"):
        read_jets(parquet(table, "gev.parquet"), unit="MeV")


def test_particles_in_another_unit_than_their_jets_are_noticed(jetclass, parquet):
    table = jetclass()
    for name in ("part_px", "part_py", "part_pz", "part_energy"):
        table = ak.with_field(table, table[name] * 1000, name)
    with pytest.raises(
        JetError, match=r"the particles of a jet have 1.*e\+03 times the pT of their jet.*units are mixed"
    ):
        read_jets(parquet(table))


def test_at_most_so_many_constituents(jetclass, parquet):
    files = open_jets(parquet(jetclass()), most_constituents=3)
    assert files.read().multiplicity.max() == 3 and sum(files.rules.counts.values()) > 0


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_a_file_without_jets_is_refused(request, jetclass, kind):
    with pytest.raises(JetError, match="has no jets"):
        open_jets(request.getfixturevalue(kind)(jetclass(3)[:0]))


def test_a_range_beyond_the_jets_is_refused(jetclass, parquet):
    files = open_jets(parquet(jetclass(3)))
    with pytest.raises(JetError, match=r"no jet is left between number 3 and 3 of 3. Read others"):
        files.read(3)
    assert list(files.chunks(2, first=3)) == []
