# SPDX-License-Identifier: Apache-2.0
"""The language of a report, and the honest "unknown"."""

from __future__ import annotations

import pytest

from monai_unimedi.data.language import UNKNOWN, language_of

TEXTS = {
    "en": "Heart size is normal. The lungs are clear without effusion.",
    "es": "Silueta cardíaca de tamaño normal. No se observan derrames ni consolidaciones en los campos.",
    "de": "Herz normal groß. Kein Erguss, keine Infiltrate. Der Thorax ist unauffällig.",
    "fr": "Le coeur est de taille normale. Pas d'épanchement pleural ni de foyer dans les poumons.",
    "pt": "Área cardíaca normal. Não há derrame pleural. Os pulmões são expandidos e sem opacidades.",
    "it": "Ombra cardiaca nei limiti. Non si osservano versamenti né addensamenti della trama polmonare.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_language_is_told(language: str) -> None:
    assert language_of(TEXTS[language]) == language


def test_case_and_accents_do_not_count() -> None:
    assert language_of("NO SE OBSERVAN DERRAMES EN EL TORAX") == "es"
    assert language_of("nao ha derrame pleural nos pulmoes sem opacidades") == "pt"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Normal.",
        "No hay",
        "7 8 9 10",
        "pneumothorax cardiomegaly ARDS CHF COPD",
        "Плевральный выпот не определяется, сердце не расширено",
    ],
)
def test_too_little_or_another_language_is_unknown(text: str) -> None:
    assert language_of(text) == UNKNOWN


def test_mixture_is_unknown() -> None:
    assert language_of("the lungs are clear; los pulmones se observan sin derrame de la pleura") in (
        UNKNOWN,
        "es",
    )
    assert language_of("the and of is der und die ist") == UNKNOWN
