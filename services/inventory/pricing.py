"""Prices of WorkSpaces, as AWS's price list describes them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.inventory.advising import ALWAYS_ON, AUTO_STOP, Rates
from services.inventory.exact import split
from services.inventory.models import PRICES
from services.inventory.sizing import smaller_sizes

HOUR, MONTH = "hour", "month"
MODES = {"alwayson": ALWAYS_ON, "autostop": AUTO_STOP}
WINDOWS, OTHER_SYSTEM = "windows", "other"
INCLUDED = "included"
Key = tuple[str, str, int, int]  # compute type, system, root and user volume in GB


def rows_of(product_texts: Iterable[object]) -> Iterator[dict[str, Any]]:
    """Yield the prices of products; those that are not plain WorkSpaces are left out."""
    for text in product_texts:
        try:
            product = json.loads(str(text))
            yield from _rows(product)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # of another kind: not every product of the list is a WorkSpace


def _rows(product: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    attributes = {key.lower(): str(value) for key, value in product["product"]["attributes"].items()}
    if attributes.get("softwareincluded", "None").lower() not in ("", "none", "na"):
        return
    key = {
        "compute_type": attributes["bundle"].upper().replace(" ", "").replace("-", "")[:60],
        "system": _system(attributes.get("operatingsystem", WINDOWS)),
        "licence": attributes.get("license", INCLUDED).lower()[:60],
        "root_gib": _gigabytes(attributes["rootvolume"]),
        "user_gib": _gigabytes(attributes["uservolume"]),
        "running_mode": MODES[attributes["runningmode"].lower().replace("-", "").replace("_", "")],
    }
    for term in product["terms"]["OnDemand"].values():
        for dimension in term["priceDimensions"].values():
            for currency, price in dimension["pricePerUnit"].items():
                split(price)  # raises ValueError if it is not an amount
                unit = _unit(str(dimension["unit"]))
                if Decimal(price) > 0:
                    yield {**key, "unit": unit, "currency": str(currency)[:10], "price": str(price)[:40]}


def _system(name: str) -> str:
    return WINDOWS if WINDOWS in name.lower() else OTHER_SYSTEM


def _gigabytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0])


def _unit(name: str) -> str:
    plain = name.lower()
    if plain.startswith(("hour", "hr")):
        return HOUR
    if "mo" in plain:
        return MONTH
    raise ValueError(f"unknown unit {name}")


class PriceList:
    """The rates of one region."""

    def __init__(self, session: Session, region: str) -> None:
        found = select(PRICES).where(PRICES.c.region == region, PRICES.c.licence.in_((INCLUDED, "")))
        prices: dict[Key, dict[tuple[str, str], Decimal]] = {}
        self._currency = ""
        for row in session.connection().execute(found).mappings():
            key = row["compute_type"], row["system"], row["root_gib"], row["user_gib"]
            prices.setdefault(key, {})[row["running_mode"], row["unit"]] = Decimal(row["price"])
            self._currency = row["currency"]
        self._rates = {key: rates for key, one in prices.items() if (rates := self._of(one)) is not None}

    def _of(self, prices: Mapping[tuple[str, str], Decimal]) -> Rates | None:
        try:
            return Rates(
                always_on_month=prices[ALWAYS_ON, MONTH],
                auto_stop_month=prices[AUTO_STOP, MONTH],
                auto_stop_hour=prices[AUTO_STOP, HOUR],
                currency=self._currency,
            )
        except KeyError:
            return None

    def rates(self, workspace: Mapping[str, Any]) -> Rates | None:
        """Return the rates of a WorkSpace; None unless AWS lists exactly its kind and volumes."""
        system = _system(workspace["os"] or WINDOWS)
        volumes = workspace["root_gib"] or 0, workspace["user_gib"] or 0
        return self._rates.get((str(workspace["compute_type"]).replace("_", ""), system, *volumes))

    def smaller(self, workspace: Mapping[str, Any]) -> dict[str, Rates]:
        """Return the rates of the smaller sizes with the same system and volumes."""
        sizes = smaller_sizes(workspace["compute_type"])
        found = {size: self.rates({**workspace, "compute_type": size}) for size in sizes}
        return {size: rates for size, rates in found.items() if rates is not None}
