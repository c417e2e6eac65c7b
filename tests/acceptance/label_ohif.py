# SPDX-License-Identifier: Apache-2.0
"""The app before Orthanc, with CT and DX studies, and the OHIF viewer in headless Chromium.

Study list, MONAI Label panel, Run, overlay in all three views; a label stored as DICOM SEG, read back whole under its
names, and trained on; X-rays by their own filter. Screenshots (phantoms only) go to ``output/acceptance/label/ohif``.
Everything runs in a network namespace that has loopback only.
"""

from __future__ import annotations

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
    Server,
    Steps,
    free_port,
    phantoms,
    slicer_client,
    true_numbers,
    wait_for_training,
    write_label,
)

FOLDER = OUTPUT / "ohif"
STUDIES = 4
BROWSER = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1000"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
CONNECT = (
    "[...document.querySelectorAll('input')].find(e => e.value.startsWith('http'))"
    "?.closest('tr').querySelector('button')"
)
ANSWERED = "return performance.getEntriesByType('resource').some(e => e.name.includes('/infer/'))"
VIEWS = (
    "return [...document.querySelectorAll('canvas')].map(e => e.getBoundingClientRect())"
    ".filter(r => r.width > 100).map(r => [r.left, r.top, r.width, r.height])"
)
WAIT = float(os.environ.get("UNIMEDI_BROWSER_SECONDS") or 240)


def main() -> int:
    in_own_network()
    rows = phantoms(10)
    rows["3d"] = [row for row in rows["3d"] if true_numbers(row)[0].any()]  # DICOM SEG holds no empty label
    rows["3d"].sort(key=lambda row: not crosses_every_view(row))
    steps = Steps()
    shutil.rmtree(FOLDER / "cache", ignore_errors=True)
    given = os.environ.get("UNIMEDI_LABEL_BUNDLE_MODELS")  # weights that segment something, for the pictures
    if given:
        shutil.copytree(given, FOLDER / "models" / "segmentation", dirs_exist_ok=True)
    with Orthanc(FOLDER / "orthanc", free_port()) as orthanc:
        series = [ct_series(row["image"], f"phantom_{n}") for n, row in enumerate(rows["3d"][:STUDIES])]
        pictures = [dx_image(row["image"], f"xray_{n}") for n, row in enumerate(rows["2d"][:2])]
        for one in [*pictures, *(data for found in series for data in found)]:
            orthanc.send(one)
        uids = [str(found[0].SeriesInstanceUID) for found in series]
        environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(FOLDER / "cache")}
        with Server(f"{orthanc.url}/dicom-web", FOLDER, environment, port=8000) as server:  # as OHIF fills it in
            client = slicer_client().MONAILabelClient(server.url, tmpdir=str(FOLDER))
            with_client(client, uids, rows["3d"], steps)
            in_browser(server.url, str(series[0][0].StudyInstanceUID), steps)
        with steps.step("labels come back whole, under their names"):
            read_back(orthanc.url, uids, rows["3d"])
        xrays(orthanc.url, [str(one.SeriesInstanceUID) for one in pictures], steps)
    return steps.end("Orthanc and OHIF")


def crosses_every_view(row: dict[str, Any]) -> bool:
    """Whether a finding lies in the middle slice along each axis: what the three views show first."""
    numbers, _ = true_numbers(row)
    return all(numbers.take(size // 2, axis).any() for axis, size in enumerate(numbers.shape))


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
    with Server(f"{url}/dicom-web", FOLDER, environment) as server:
        client = slicer_client().MONAILabelClient(server.url, tmpdir=str(FOLDER))
        with steps.step("X-rays of the DICOMweb server"):
            assert client.info()["datastore"]["total"] == len(uids)
            file, params = client.infer("segmentation_xray", uids[0], dict(INFER))
            assert Path(file).stat().st_size and params["label_names"]
            assert client.infer("findings", uids[0], {"text": "Cardiomegaly."})[1]["places"]


def in_browser(url: str, study: str, steps: Steps) -> None:
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
        drive(browser, url, study, steps)
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


def drive(browser: Any, url: str, study: str, steps: Steps) -> None:
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
    with steps.step("OHIF: Run, overlay in three views"):
        before = colours(browser)
        browser.execute_script("document.querySelector('button.actionButton[title^=\"Run\"]').click()")
        wait_for(browser, lambda: browser.execute_script(ANSWERED), "the answer")
        time.sleep(20)
        browser.save_screenshot(str(FOLDER / "overlay.png"))
        after = colours(browser)
        print(f"  coloured pixels in the three views before {before}, after {after}")
        assert all(more > less for less, more in zip(before, after))


def colours(browser: Any) -> list[int]:
    """Pixels that are not grey in each of the three views; the scan itself is grey."""
    import io

    import numpy as np
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")).astype(int)
    counts = []
    for box in browser.execute_script(VIEWS)[:3]:
        left, top, width, height = (int(value) for value in box)
        middle = picture[top + height // 4 : top + 3 * height // 4, left + width // 8 : left + 7 * width // 8]
        counts.append(int((middle.max(2) - middle.min(2) > 24).sum()))
    return counts


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
