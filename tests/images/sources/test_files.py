"""Pictures are read from folders and stacks; what can't be read is refused in one line."""

import shutil

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from statecast.describers import describe_data
from statecast.images.errors import ImageError
from statecast.images.recipe import ImageData
from statecast.images.record import read_record
from statecast.images.sources.decode import read_pixels
from statecast.images.sources.files import open_pictures
from statecast.images.sources.tables import read_boxes, read_labels
from statecast.numbered import SampleFiles


def options(files, **data) -> ImageData:
    return ImageData(**{"domain": "images", "files": str(files), "train": (0, 0)} | data)


def pictures(files, **data):
    return open_pictures(options(files, **data), (str(files),))


def save(path, values, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **how)
    return path


def picture(rows=8, columns=8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (rows, columns, 3)).astype(np.uint8)


def test_a_folder_holds_pictures_with_labels_masks_and_boxes(folder):
    found = pictures(folder, boxes=str(folder.parent / "boxes.csv"))
    assert [each.name for each in found[:2]] == ["blue/00.png", "blue/02.png"] and len(found) == 16
    assert found[0].labels == {"folder": "blue"} and found[-1].labels == {"folder": "red"}
    left, top, right, bottom = found[3].boxes.edges[0].astype(int)
    mask = found[3].mask()
    assert (mask[top:bottom, left:right] > 0).all() and (mask > 0).sum() == 36


def test_shuffled_pictures_are_the_same_in_another_order_that_stays(folder):
    plain, shuffled = ([each.name for each in pictures(folder, shuffle=flag)] for flag in (False, True))
    assert sorted(shuffled) == plain != shuffled and shuffled == [each.name for each in pictures(folder, shuffle=True)]


@pytest.mark.parametrize(("ending", "exact"), [("png", True), ("tif", True), ("jpg", False)])
def test_formats_hold_the_values_that_were_written(tmp_path, ending, exact):
    values = np.repeat(np.repeat(picture(4, 4), 4, 0), 4, 1)
    read = read_pixels(save(tmp_path / f"a.{ending}", values))
    assert read.shape == (1, 3, 16, 16)
    assert np.abs(read[0].transpose(1, 2, 0) * 255 - values).mean() < (1e-4 if exact else 30)


def test_sixteen_bits_keep_all_their_values(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    np.testing.assert_allclose(read_pixels(save(tmp_path / "a.png", values))[0, 0] * 65535, values, atol=0.01)


def test_pages_of_a_tiff_are_frames(tmp_path):
    pages = [Image.fromarray(picture(seed=seed)) for seed in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    found = pictures(tmp_path, frames=2)
    assert [each.shape for each in found] == [(2, 3, 8, 8)] * 2
    np.testing.assert_allclose(found[1].read()[1] * 255, picture(seed=3).transpose(2, 0, 1), atol=1e-4)


def test_a_folder_of_frames_is_a_film(tmp_path):
    for number in range(3):
        save(tmp_path / "one" / f"{number}.png", picture(seed=number))
    (film,) = pictures(tmp_path, films=True, frames=3)
    assert film.shape == film.read().shape == (3, 3, 8, 8)


def test_stacks_have_labels_and_masks(tmp_path):
    images, labels = np.zeros((4, 6, 8, 3), np.uint8), np.arange(4)
    np.savez(tmp_path / "a.npz", images=images, kind=labels, masks=np.ones((4, 6, 8), int))
    found = pictures(tmp_path / "a.npz")
    assert found[2].shape == (1, 3, 6, 8) and found[2].labels == {"kind": 2} and found[2].mask().sum() == 48


def test_variables_of_a_netcdf_file_are_channels_and_times_are_pictures_or_frames(tmp_path):
    dims = ("time", "lat", "lon")
    data = {name: (dims, np.full((6, 4, 5), value, np.float32)) for name, value in (("t", 1.0), ("u", 2.0))}
    xr.Dataset(data).to_netcdf(tmp_path / "a.nc")
    single, films = pictures(tmp_path / "a.nc"), pictures(tmp_path / "a.nc", frames=3)
    assert (
        len(single) == 6 and single[0].channels == ("t", "u") and [each.shape for each in films] == [(3, 2, 4, 5)] * 2
    )
    assert (films[1].read()[:, 1] == 2).all()


def test_colours_and_grey_are_converted(tmp_path):
    save(tmp_path / "a.png", picture())
    save(tmp_path / "b.png", picture()[..., 0])
    with pytest.raises(
        ImageError, match=r"b.png: has the channels grey, expected red, green, blue as a.png. Set data.convert"
    ):
        pictures(tmp_path)
    assert [each.read().shape[1] for each in pictures(tmp_path, convert="rgb")] == [3, 3]
    grey = pictures(tmp_path, convert="grey")[0].read()[0, 0]
    np.testing.assert_allclose(grey, picture() @ [0.299, 0.587, 0.114] / 255, atol=1e-5)


def test_crops_are_tiles_and_leave_out_the_rest(tmp_path):
    save(tmp_path / "a.png", picture(20, 9))
    save(tmp_path / "b.png", picture(8, 8))
    record = read_record(options(tmp_path, crop=(8, 8)), (str(tmp_path),), (0, None))
    assert len(record) == 3 and record.places.tolist() == [0, 0, 1]
    np.testing.assert_allclose(
        record.pixels(record.tiles[1])[0] * 255, picture(20, 9)[8:16, :8].transpose(2, 0, 1), atol=1e-4
    )


def refuse(message, files, chosen=(0, None), **data):
    with pytest.raises(ImageError, match=message) as caught:
        read_record(options(files, **data), (str(files),), chosen)
    assert "\n" not in str(caught.value)


def test_mixed_sizes_are_refused(tmp_path):
    save(tmp_path / "a.png", picture(20, 9))
    save(tmp_path / "b.png", picture(8, 8))
    refuse(r"b.png: has 8 × 8 pixels, expected 20 × 9 as a.png. Set data.crop", tmp_path)
    refuse(r"a.png: has 20 × 9 pixels, fewer than data.crop \[10, 10\]", tmp_path, crop=(10, 10))


def test_a_truncated_picture_is_refused(tmp_path):
    path = save(tmp_path / "a.png", picture(64, 64))
    path.write_bytes(path.read_bytes()[:2000])
    refuse("a.png: can't be read as an image", tmp_path)


def test_an_empty_folder_a_missing_one_and_a_text_are_refused(tmp_path):
    refuse("holds no picture, expected files that end in .png", tmp_path)
    refuse("is no folder, no file that ends in", tmp_path / "nowhere")
    (tmp_path / "a.png").write_text("no picture")
    refuse("a.png: can't be read as an image", tmp_path)


def test_a_range_beyond_the_pictures_is_refused(folder):
    refuse(r"have 16 pictures, expected 10 to 16, counted from 0", folder, (10, 16))


def test_a_mask_of_another_size_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    save(tmp_path / "copy" / "masks" / "blue" / "00.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ImageError, match=r"00.png: is 4 × 4 pixels, expected 16 × 16 pixels as its picture"):
        pictures(tmp_path / "copy")[0].mask()


def test_a_stack_of_other_axes_is_refused_unless_they_are_said(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2, 4, 5), np.float32))
    assert pictures(tmp_path / "a.npy", axes="SCHW")[0].shape == (1, 2, 4, 5)
    refuse(r"has an array of the shape \(3, 2, 4, 5\)", tmp_path / "a.npy", axes="SHW")


def test_a_table_of_labels_names_pictures_with_or_without_folder_and_ending(tmp_path):
    (tmp_path / "l.csv").write_text("image,kind\na.png,1\nsub/b,2\n")
    assert read_labels(str(tmp_path / "l.csv"), ["x/a.png", "sub/b.png", "c.png"]) == {"kind": [1, 2, None]}
    with pytest.raises(ImageError, match=r"names none of the 1 pictures, such as c\.png"):
        read_labels(str(tmp_path / "l.csv"), ["c.png"])


def test_a_row_without_edges_says_that_there_is_no_object(tmp_path):
    (tmp_path / "b.csv").write_text("image_path,xmin,ymin,xmax,ymax\na.png,0,0,2,2\nb.png,,,,\n")
    one, none, unknown = read_boxes(str(tmp_path / "b.csv"), ["a.png", "b.png", "c.png"])
    assert len(one) == 1 and len(none) == 0 and unknown is None


def test_a_box_without_area_is_refused(tmp_path):
    (tmp_path / "b.csv").write_text("image,xmin,ymin,xmax,ymax\na.png,3,0,2,2\n")
    with pytest.raises(ImageError, match=r"row 2: the box \[3.0, 0.0, 2.0, 2.0\] has no area"):
        read_boxes(str(tmp_path / "b.csv"), ["a.png"])


def test_describe_says_what_is_in_a_folder(folder):
    text = str(describe_data(str(folder)))
    for line in (
        "16 in ",
        "16 × 16 rows × columns",
        "red, green, blue",
        "folders: blue (8), red (8)",
        "of 16 pictures",
    ):
        assert line in text


def test_samples_ship_with_scikit_learn():
    digits = pictures("sample:digits")
    assert len(digits) == 1797 and digits[3].shape == (1, 1, 8, 8) and digits[3].labels == {"digit": 3}
    assert isinstance(options("sample:digits"), SampleFiles)
