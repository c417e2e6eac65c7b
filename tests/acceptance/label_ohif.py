# SPDX-License-Identifier: Apache-2.0
"""The app before Orthanc, with CT and DX studies, and the OHIF viewer in headless Chromium.

Study list, MONAI Label panel, Run, and the overlay: in each of the three views the coloured pixels are held against
the label that the app answers with, pixel by pixel, by the view's own map to the patient's coordinates. A label stored
as DICOM SEG, read back whole under its names, and trained on; X-rays by their own filter. Screenshots (phantoms only)
go to ``output/acceptance/label/ohif``. Everything runs in a network namespace that has loopback only. The app answers
with the weights of ``make downstream``.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from _dicom import Orthanc, ct_series, dx_image, in_own_network
from _label import (
    APP,
    INFER,
    LABEL_INFO,
    NAMES,
    OUTPUT,
    TRAINED,
    Server,
    Steps,
    free_port,
    need_trained,
    phantoms,
    slicer_client,
    true_numbers,
    wait_for_training,
    write_label,
)

FOLDER = OUTPUT / "ohif"
STUDIES = 4
CT_SHAPE = (128, 128, 64)  # 3 x 3 x 5 mm: finer than what the network sees
OPTIONS = ("--trained", str(TRAINED))
OVERLAP = 0.8  # Dice of the coloured pixels with the label's, in each view
COLOURED = 24  # how far a pixel is from grey
BROWSER = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1000"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
CONNECT = (
    "[...document.querySelectorAll('input')].find(e => e.value.startsWith('http'))"
    "?.closest('tr').querySelector('button')"
)
ANSWERED = "return performance.getEntriesByType('resource').some(e => e.name.includes('/infer/'))"
# Each view moves along its own axis to a point of the patient (LPS, mm).
SHOW = """
for (const { viewport } of cornerstone.getEnabledElements()) {
  const { focalPoint, position, viewPlaneNormal: n } = viewport.getCamera();
  const away = n.reduce((sum, x, i) => sum + x * (arguments[0][i] - focalPoint[i]), 0);
  const moved = p => p.map((x, i) => x + away * n[i]);
  viewport.setCamera({ focalPoint: moved(focalPoint), position: moved(position) });
  viewport.render();
}"""
# Of each view: its rectangle on the page, and where its corner and the next pixels right and down lie in the patient.
VIEWS = """
return cornerstone.getEnabledElements().map(({ viewport }) => {
  const box = viewport.canvas.getBoundingClientRect();
  const places = [[0, 0], [1, 0], [0, 1]].map(at => [...viewport.canvasToWorld(at)]);
  return { box: [box.left, box.top, box.width, box.height], places };
});"""
WAIT = float(os.environ.get("UNIMEDI_BROWSER_SECONDS") or 240)


def main() -> int:
    in_own_network()
    need_trained("segmentation_2d", "segmentation_3d")
    rows = phantoms(10, ct_shape=CT_SHAPE)
    rows["3d"] = [row for row in rows["3d"] if true_numbers(row)[0].any()]  # DICOM SEG holds no empty label
    rows["3d"].sort(key=lambda row: -len(set(true_numbers(row)[0].ravel().tolist())))
    steps = Steps()
    for name in ("cache", "models"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    with Orthanc(FOLDER / "orthanc", free_port()) as orthanc:
        series = [ct_series(row["image"], f"phantom_{n}") for n, row in enumerate(rows["3d"][:STUDIES])]
        pictures = [dx_image(row["image"], f"xray_{n}") for n, row in enumerate(rows["2d"][:2])]
        for one in [*pictures, *(data for found in series for data in found)]:
            orthanc.send(one)
        uids = [str(found[0].SeriesInstanceUID) for found in series]
        environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(FOLDER / "cache")}
        store = f"{orthanc.url}/dicom-web"
        with Server(store, FOLDER, environment, OPTIONS, port=8000) as server:  # as OHIF fills it in
            client = slicer_client().MONAILabelClient(server.url, tmpdir=str(FOLDER))
            with_client(client, uids, rows["3d"], steps)
            answer = client.infer("segmentation", uids[0], dict(INFER))[0]
            in_browser(server.url, str(series[0][0].StudyInstanceUID), answer, steps)
        with steps.step("labels come back whole, under their names"):
            read_back(orthanc.url, uids, rows["3d"])
        xrays(orthanc.url, [str(one.SeriesInstanceUID) for one in pictures], steps)
    return steps.end("Orthanc and OHIF")


def with_client(client: Any, uids: list[str], rows: list[Any], steps: Steps) -> None:
    with steps.step("study list of the datastore, next sample in words"):
        assert client.info()["datastore"]["total"] == STUDIES
        assert client.next_sample("text_search", {"text": "Nodule."})["id"] in uids
    with steps.step("inference by series"):
        file, params = client.infer("segmentation", uids[0], dict(INFER))
        assert Path(file).stat().st_size and params["label_names"]
    with steps.step("labels stored as DICOM SEG"):
        for uid, row in zip(uids[:3], rows):
            client.save_label(uid, str(write_label(row, FOLDER / "labels", uid)), params={"label_info": LABEL_INFO})
        assert client.info()["datastore"]["completed"] == 3
    with steps.step("trained on"):
        client.train_start("segmentation", {"max_epochs": 1, "steps_per_epoch": 5})
        status = wait_for_training(client, 1200)
        assert status["status"] == "DONE", list(status.get("details", []))[-3:]
        run = client.info()["train_stats"]["segmentation"]["history"][-1]
        assert run["labels"] == {"training": 2, "validation": 1} and not run["refused"], run


def read_back(url: str, uids: list[str], rows: list[Any]) -> None:
    """By a datastore that has nothing yet: every label as it was sent, voxel by voxel."""
    import nibabel
    import numpy as np

    sys.path.append(str(APP))
    from unimedi_label import upstream

    upstream.apply()
    from monailabel.datastore.dicom import DICOMwebClientX
    from unimedi_label.labels import mask_for_training
    from unimedi_label.studies import RemoteStudies

    shutil.rmtree(FOLDER / "fresh", ignore_errors=True)
    store = RemoteStudies(DICOMwebClientX(url=f"{url}/dicom-web"), {"Modality": "CT"}, str(FOLDER / "fresh"))
    pairs = store.datalist()
    assert len(pairs) == 3
    for pair in pairs:
        uid = Path(pair["image"]).name.removesuffix(".nii.gz")
        target = FOLDER / "fresh" / "mask"
        info = store.get_label_info(uid, "final")
        mask_for_training(Path(pair["image"]), Path(pair["label"]), info, NAMES, True, target)
        image = nibabel.load(str(target) + ".nii.gz")
        found, truth = np.asarray(image.dataobj), true_numbers(rows[uids.index(uid)])
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.io_orientation(truth[1])
        )
        assert (nibabel.orientations.apply_orientation(found, turn) == truth[0]).all(), "a label changed"
    store._observer.stop()


def xrays(url: str, uids: list[str], steps: Steps) -> None:
    environment = {
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(FOLDER / "cache_dx"),
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": '{"Modality": "DX"}',
    }
    shutil.rmtree(FOLDER / "cache_dx", ignore_errors=True)
    with Server(f"{url}/dicom-web", FOLDER, environment, OPTIONS) as server:
        client = slicer_client().MONAILabelClient(server.url, tmpdir=str(FOLDER))
        with steps.step("X-rays of the DICOMweb server"):
            assert client.info()["datastore"]["total"] == len(uids)
            file, params = client.infer("segmentation_xray", uids[0], dict(INFER))
            assert Path(file).stat().st_size and params["label_names"]
            assert client.infer("findings", uids[0], {"text": "Cardiomegaly."})[1]["places"]


def in_browser(url: str, study: str, answer: str, steps: Steps) -> None:
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        with steps.step("OHIF in Chromium"):
            raise RuntimeError("selenium is missing: .venv-label/bin/python -m pip install selenium") from None
        return
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in BROWSER:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    browser.command_executor.client_config.timeout = 2 * WAIT
    browser.set_script_timeout(WAIT)
    browser.set_page_load_timeout(WAIT)
    try:
        drive(browser, url, study, answer, steps)
    finally:
        (FOLDER / "browser.log").write_text(json.dumps(browser.get_log("browser"), indent=1))
        browser.quit()


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def wait_for(browser: Any, condition: Any, what: str) -> None:
    started = time.monotonic()
    while time.monotonic() - started < WAIT:
        if condition():
            return
        time.sleep(1)
    browser.save_screenshot(str(FOLDER / "failed.png"))
    raise TimeoutError(f"{what} did not appear in {WAIT:.0f} s")


def drive(browser: Any, url: str, study: str, answer: str, steps: Steps) -> None:
    numbers, matrix = label_of(answer)
    with steps.step("OHIF: study list"):
        browser.get(f"{url}/ohif/")
        wait_for(browser, lambda: "phantom_0" in text_of(browser), "the study list")
        browser.save_screenshot(str(FOLDER / "study_list.png"))
    with steps.step("OHIF: MONAI Label panel"):
        browser.get(f"{url}/ohif/monai-label?StudyInstanceUIDs={study}")
        wait_for(browser, lambda: browser.execute_script(f"return !!{CONNECT}"), "the panel")
        click(browser, "Confirm and Hide")
        time.sleep(10)
        browser.execute_script(f"{CONNECT}.click()")
        wait_for(browser, lambda: "Auto-Segmentation" in text_of(browser), "the models")
        time.sleep(5)
        browser.save_screenshot(str(FOLDER / "panel.png"))
    with steps.step("OHIF: Run, overlay in three views, on the label's own pixels"):
        browser.execute_script(SHOW, middle_of(numbers, matrix))
        time.sleep(5)
        before = picture(browser)
        browser.execute_script("document.querySelector('button.actionButton[title^=\"Run\"]').click()")
        wait_for(browser, lambda: browser.execute_script(ANSWERED), "the answer")
        time.sleep(20)
        browser.save_screenshot(str(FOLDER / "overlay.png"))
        after = picture(browser)
        views = [overlap(before, after, view, numbers, matrix) for view in browser.execute_script(VIEWS)]
        print(f"  of the label in each view: {', '.join(f'{n} pixels, Dice {dice:.3f}' for n, dice in views)}")
        assert len(views) == 3 and all(count > 0 and dice > OVERLAP for count, dice in views)


def label_of(path: str) -> tuple[Any, Any]:
    """Numbers (X, Y, Z) of a label and its voxel-to-world matrix (4, 4), LPS, mm."""
    import numpy as np
    import SimpleITK

    image = SimpleITK.ReadImage(path)
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, matrix


def middle_of(numbers: Any, matrix: Any) -> list[float]:
    """A place (LPS, mm) where all three slices show much of the label: where the product of their voxels is largest."""
    import numpy as np

    found = numbers > 0
    assert found.any(), "the app found nothing in this phantom: there is no overlay to see"
    sums = [found.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
    shown = found * sums[0][:, None, None] * sums[1][None, :, None] * sums[2][None, None, :].astype(float)
    index = np.unravel_index(shown.argmax(), shown.shape)
    return [float(value) for value in (matrix @ [*index, 1])[:3]]


def picture(browser: Any) -> Any:
    """What the browser shows, (height, width, 3)."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")).astype(int)


def overlap(before: Any, after: Any, view: Any, numbers: Any, matrix: Any) -> tuple[int, float]:
    """Pixels of a view that the label should colour, and the Dice of those with the ones that Run coloured.

    Args:
        before: what the browser showed; the scan itself is grey.
        after: the same after Run.
        view: its rectangle and its map to the patient.
        numbers: of the label (X, Y, Z).
        matrix: voxel to world (4, 4), LPS, mm.
    """
    import numpy as np

    left, top, width, height = (int(value) for value in view["box"])
    corner, right, down = (np.asarray(place) for place in view["places"])
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    world = corner + x[..., None] * (right - corner) + y[..., None] * (down - corner)
    inverse = np.linalg.inv(matrix)
    index = np.round(world @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    inside = ((index >= 0) & (index < numbers.shape)).all(-1)
    expected = np.zeros((height, width), bool)
    expected[inside] = numbers[tuple(index[inside].T)] > 0
    here = slice(top, top + height), slice(left, left + width)
    coloured = [np.ptp(one[here], axis=-1) > COLOURED for one in (before, after)]
    found = coloured[1] & ~coloured[0] & inside
    return int(expected.sum()), float(2 * (found & expected).sum() / max(1, found.sum() + expected.sum()))


def click(browser: Any, text: str) -> None:
    """The smallest element with this text, a button before others."""
    found = browser.execute_script(
        "const all = [...document.querySelectorAll('button,label,a,td,div,span')]"
        ".filter(e => e.innerText && e.innerText.trim().startsWith(arguments[0]) && e.offsetParent);"
        "all.sort((a, b) => (a.tagName == 'BUTTON' ? 0 : 1) - (b.tagName == 'BUTTON' ? 0 : 1)"
        " || a.innerText.length - b.innerText.length);"
        "if (all.length) all[0].click(); return all.length",
        text,
    )
    if not found:
        raise RuntimeError(f"there is nothing called {text!r} to click")


if __name__ == "__main__":
    sys.exit(main())
