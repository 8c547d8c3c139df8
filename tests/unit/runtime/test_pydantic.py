"""Handlers whose parameters are pydantic models."""

from __future__ import annotations

from dataclasses import make_dataclass
from types import GenericAlias
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import defstruct

from orbitmesh.core.errors import ConfigError, InvalidParameters
from orbitmesh.runtime.conversion import Misfit, read_type
from orbitmesh.runtime.signature import HandlerSpec, read_signature
from orbitmesh.wire.envelopes import Kind

pydantic: Any = pytest.importorskip("pydantic")

Item: Any = pydantic.create_model("Item", name=(str, ...), price=(Annotated[float, pydantic.Field(gt=0)], 1.0))


def list_of(item: Any) -> Any:
    return GenericAlias(list, item)


def read(function: Any, **annotations: Any) -> HandlerSpec:
    function.__annotations__ |= annotations
    return read_signature(function, name="work", kind=Kind.CALL, context_types=())


def decode(body: bytes | memoryview, type_: Any, serializer: int | None = None, /) -> Any:
    return msgspec.msgpack.decode(body, type=type_)


def call(spec: HandlerSpec, params: Any) -> Any:
    return spec.call(spec.read(decode, msgspec.msgpack.encode(params)), None, None)


def fault(spec: HandlerSpec, params: Any) -> str:
    with pytest.raises(InvalidParameters) as error:
        call(spec, params)
    return str(error.value)


def test_models_are_converted_among_other_parameters() -> None:
    def f(item: Any, count: int, items: Any = None) -> Any:
        return item, count, items

    spec = read(f, item=Item, items=GenericAlias(dict, (str, list_of(Item))))
    assert call(spec, {"item": {"name": "a"}, "count": 2}) == (Item(name="a"), 2, None)
    assert call(spec, {"item": {"name": "a"}, "count": 2, "items": {"x": [{"name": "b", "price": 3}]}}) == (
        Item(name="a"),
        2,
        {"x": [Item(name="b", price=3)]},
    )
    assert fault(spec, {"item": {"price": -1}, "count": "2", "sum": 0, "items": {"x": [{"name": 1}]}}) == (
        "count: expected int, got str; item.name: field required; item.price: input should be greater than 0; "
        "items.x[0].name: input should be a valid string; unknown parameter 'sum'"
    )
    assert fault(spec, {"item": {}, "count": 1}) == "item.name: field required"
    assert fault(spec, {"item": {"name": "a"}, "count": "1"}) == "count: expected int, got str"
    assert fault(spec, None) == "missing parameter 'item'; missing parameter 'count'"


def test_a_lone_model_takes_the_whole_mapping() -> None:
    def f(item: Any) -> Any:
        return item

    spec = read(f, item=Item)
    assert call(spec, {"name": "a"}) == Item(name="a")
    assert fault(spec, {"price": 0, "nme": "a"}) == (
        "name: field required; price: input should be greater than 0; unknown parameter 'nme' (did you mean 'name'?)"
    )
    assert fault(spec, {"name": "a", "size": 1}) == "unknown parameter 'size'"
    assert call(read(f, item=Item | None), None) is None


def test_a_model_that_says_what_becomes_of_other_names_has_its_way() -> None:
    def f(item: Any) -> Any:
        return item

    Open = pydantic.create_model("Open", __config__={"extra": "allow"}, name=(str, ...))  # noqa: N806
    assert call(read(f, item=Open), {"name": "a", "size": 1}).size == 1
    assert fault(read(f, item=Open), {"size": 1}) == "name: field required"


def test_aliases_are_known_names() -> None:
    def f(item: Any) -> Any:
        return item.name, item.size

    choices = pydantic.AliasChoices("fullName", pydantic.AliasPath("names", 0))
    Aliased = pydantic.create_model(  # noqa: N806
        "Aliased",
        name=(str, pydantic.Field(validation_alias=choices)),
        size=(int, pydantic.Field(alias="howBig")),
        depth=(int, pydantic.Field(0, validation_alias=pydantic.AliasPath("numbers", 1))),
    )
    spec = read(f, item=Aliased)
    assert call(spec, {"names": ["a"], "howBig": 1, "numbers": []}) == ("a", 1)
    assert fault(spec, {"fullName": "a", "howbig": 1}) == (
        "howBig: field required; unknown parameter 'howbig' (did you mean 'howBig'?)"
    )


def test_dataclasses_of_pydantic_keep_their_checks() -> None:
    def check(n: int) -> int:
        if n == 13:
            raise RuntimeError("unlucky")
        return n

    checked: Any = Annotated[int, pydantic.AfterValidator(check)]
    Size: Any = pydantic.dataclasses.dataclass(make_dataclass("Size", [("n", checked)]))  # noqa: N806

    def f(size: Any) -> Any:
        return size

    spec = read(f, size=Size)
    assert call(spec, {"n": "1"}) == Size(1)
    assert fault(spec, {"n": 13}) == "RuntimeError: unlucky"
    assert fault(read(f, size=list_of(Size)), {"size": [{"n": 13}]}) == "size: RuntimeError: unlucky"
    holder = make_dataclass("Holder", [("sizes", list_of(Size))])
    assert fault(read(f, size=holder), {"sizes": [{"n": 1.5}]}).startswith("sizes[0].n: input should be a valid int")


def test_constraints_written_for_pydantic_hold_for_plain_types_too() -> None:
    def f(rows: Any) -> Any:
        return rows

    spec = read(f, rows=list[Annotated[int, pydantic.Field(gt=0)]])
    assert call(spec, {"rows": [1]}) == [1]
    assert fault(spec, {"rows": [0]}) == "rows[0]: input should be greater than 0"


def test_root_models_are_matched_by_name() -> None:
    def f(rows: Any) -> Any:
        return rows.root

    assert call(read(f, rows=pydantic.RootModel[list[int]]), {"rows": [1]}) == [1]


def test_what_pydantic_cannot_build_is_refused_at_registration() -> None:
    Mixed = defstruct("Mixed", [("item", Item)])  # noqa: N806

    def f(mixed: Any) -> None: ...

    with pytest.raises(ConfigError, match="parameter 'mixed': pydantic cannot build a validator for it"):
        read(f, mixed=Mixed)


def test_models_side_by_side_and_within_dataclasses_are_converted() -> None:
    def either(it: Any) -> Any:
        return it

    def lone(order: Any) -> Any:
        return order.item.name

    Size = pydantic.create_model("Size", n=(int, ...))  # noqa: N806
    spec = read(either, it=Item | Size)
    assert call(spec, {"it": {"n": 1}}) == Size(n=1)
    Order = make_dataclass("Order", [("item", Item)])  # noqa: N806
    spec = read(lone, order=Order)
    assert call(spec, {"item": {"name": "a"}}) == "a"
    assert fault(spec, {"itm": {}}) == "item: field required; unknown parameter 'itm' (did you mean 'item'?)"


def test_the_schema_is_pydantics_own_and_self_contained() -> None:
    Order = make_dataclass("Order", [("item", Item)])  # noqa: N806

    def f(order: Any, items: Any, n: int = 1) -> None: ...
    def lone(order: Any) -> None: ...

    spec = read(f, order=Order, items=list_of(Item))
    schema = spec.parameters_schema()
    assert schema["properties"]["items"]["items"] == {"$ref": "#/$defs/items.Item"}
    assert sorted(schema["$defs"]) == ["items.Item", "order.Item"]
    assert schema["$defs"]["items.Item"]["properties"]["price"]["exclusiveMinimum"] == 0
    assert read(lone, order=Order).parameters_schema()["required"] == ["item"]


def test_values_of_one_type_can_be_converted_alone() -> None:
    conversion = read_type(list_of(Item))
    assert not conversion.is_direct
    assert conversion.convert([{"name": "a"}]) == [Item(name="a")]
    with pytest.raises(Misfit, match=r"^\[0\]\.name: field required$"):
        conversion.convert([{}])
