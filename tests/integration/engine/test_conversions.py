# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user of the API meets: results, records, refusals, limits."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conversion_stack import (
    PASSWORD,
    SAMPLES,
    TORUS,
    Stack,
    background,
    eventually,
    free_port,
    operation,
    post,
    request,
    result,
)

from conversion.api.keys import made as made_key
from conversion.checks import triangles

FORMATS = ("step", "stl", "obj", "ply", "glb")


def test_every_format_to_every_other(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    for source, output in itertools.product(FORMATS, FORMATS[1:]):
        status, answer = post(api, f"{source}/{output}", (SAMPLES / f"bracket.{source}").read_bytes())
        assert status == 201, answer
        assert answer["status"] == "completed"
        assert list(answer["outputs"]) == [f"output.{output}"]
        assert triangles(result(answer), output) == 420
        assert answer["cached"] is False
        assert answer["engine"].endswith("/0.1.0")
    metrics = engine.get("/metrics")[1].decode()
    assert 'conversion_operations_total{end="completed",output_format="stl",src_format="step"} 1.0' in metrics


def test_properties_previews_options_and_what_is_said(stack: Stack) -> None:
    api, _ = stack.api(), stack.engine()
    box = (SAMPLES / "box.step").read_bytes()

    def ask(path: str, data: bytes = box) -> dict[str, Any]:
        status, body = request(api.port, "POST", f"/file/{path}", data, timeout=120)
        assert status == 201, body
        return dict(json.loads(body))

    for _ in range(2):  # the second time from the cache, with all that is said
        volume = ask("volume?src_format=stp&output_unit=cm3")
        assert (volume["type"], volume["outputs"], volume["output_unit"]) == ("file_volume", {"volume": 6.0}, "cm3")
        assert ask("mass?src_format=step&material_density=1000")["outputs"]["mass"] == pytest.approx(0.006)
        assert ask("surface-area?src_format=step")["outputs"]["surface_area"] == pytest.approx(2200)
        assert ask("center-of-mass?src_format=step")["outputs"]["center_of_mass"] == pytest.approx([5, 10, 15])
        assert ask("bounding-box?src_format=step")["outputs"]["bounding_box"][1] == pytest.approx([10, 20, 30])
        picture = ask("preview/step?width=64&height=48&view=top")
        assert result(picture).startswith(b"\x89PNG")
        assert picture["type"] == "file_preview"
        answer = ask("conversion/stl/obj?units=in&output_units=ft", (SAMPLES / "box.stl").read_bytes())
        assert answer["warnings"] == []
        assert answer["statistics"]["bounding_box"][1] == pytest.approx([254, 508, 762], rel=1e-5)
        guessed = ask("conversion/stl/obj", (SAMPLES / "box.stl").read_bytes())
        assert "taken as millimetres" in guessed["warnings"][0]
        assert guessed["statistics"]["volume"] == pytest.approx(6000)
    assert guessed["cached"] is True
    assert operation(api, guessed["id"])["warnings"] == guessed["warnings"]
    status, body = request(api.port, "POST", "/file/volume", box, timeout=60)
    assert (status, json.loads(body)["error"]) == (
        400,
        "Option src_format is missing: give the file's format, such as step.",
    )


def test_record_and_output_can_be_had_later(stack: Stack) -> None:
    api, _ = stack.api(INLINE_MAX=1000), stack.engine()
    status, answer = post(api, "step/stl", (SAMPLES / "bracket.step").read_bytes())
    assert status == 201
    assert answer["outputs"] is None  # 21084 bytes are not small here
    record = operation(api, answer["id"])
    assert record["status"] == "completed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["completed_at"])
    assert record["created_at"] <= record["started_at"] <= record["completed_at"]
    status, data = api.get(record["output_url"])
    assert status == 200
    assert len(data) == record["output_bytes"] == 21084
    assert triangles(data, "stl") == 420


def test_a_large_result_goes_through_in_pieces(stack: Stack) -> None:
    api, _ = stack.api(), stack.engine()
    rows = [f"v {i % 97} {i % 89} {i % 83}.{i}" for i in range(100_000)]
    rows += [f"f {i + 1} {i + 2} {i + 3}" for i in range(99_998)]
    status, answer = post(api, "obj/stl", "\n".join(rows).encode())
    assert (status, answer["outputs"]) == (201, None)
    data = api.get(answer["output_url"])[1]
    assert triangles(data, "stl") == 99_998


def test_slow_conversion_is_answered_by_an_id(stack: Stack) -> None:
    api = stack.api(WAIT=0.5)
    status, answer = post(api, "step/stl", (SAMPLES / "box.step").read_bytes())  # there is no engine yet
    assert (status, answer["status"]) == (202, "queued")
    assert api.get(f"/async/operations/{answer['id']}/output")[0] == 409
    stack.engine()
    done = eventually(lambda: (record := operation(api, answer["id"]))["status"] == "completed" and record)
    assert triangles(result(done), "stl") == 12


def test_same_content_comes_from_the_cache(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    part = (SAMPLES / "bracket.step").read_bytes()
    first = post(api, "step/obj", part)[1]
    eventually(lambda: b'end="completed"' in engine.get("/metrics")[1])  # the cache is written after the answer
    engine.kill()  # nobody converts any more
    status, again = post(api, "step/obj", part)
    assert (status, again["cached"], again["outputs"]) == (201, True, first["outputs"])
    assert again["id"] != first["id"]
    assert operation(api, again["id"])["outputs"] == first["outputs"]


def test_form_upload(stack: Stack) -> None:
    api, _ = stack.api(), stack.engine()
    done = subprocess.run(
        ["curl", "-s", "-m", "60", "-F", f"file=@{SAMPLES / 'box.stl'}", f"http://127.0.0.1:{api.port}/file/conversion/stl/glb"],
        capture_output=True, timeout=90, check=True,
    )  # fmt: skip
    assert triangles(result(json.loads(done.stdout)), "glb") == 12


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    stack = Stack(tmp_path_factory.mktemp("shared"))
    try:
        stack.nats.start()
        stack.redis.start()
        yield stack.api(), stack.engine()
    finally:
        for server in reversed(stack.servers):
            server.stop()
    assert "Traceback" not in stack.logs()


@pytest.mark.parametrize(
    ("path", "data", "status", "words"),
    [
        (
            "dwg/stl",
            b"x",
            400,
            "Format 'dwg' is unknown: use one of step, iges, brep, stl, obj, ply, glb, gltf, 3mf, off.",
        ),
        ("stl/dwg", b"x", 400, "Format 'dwg' is unknown"),
        ("stl/step", b"x", 400, "Nothing converts to STEP"),
        ("stl/obj", b"", 400, "The file is empty"),
        ("step/stl", b"no step at all", 422, "This is not a STEP file"),
        ("step/stl", (SAMPLES / "bracket.step").read_bytes()[:9000], 422, "damaged, cut off"),
        ("step/stl", b"ISO-10303-21;\nHEADER;ENDSEC;DATA;ENDSEC;END-ISO-10303-21;", 422, "STEP file"),
        ("stl/obj", b"\0" * 100, 422, "STL file"),
        ("stl/obj", (SAMPLES / "bracket.stl").read_bytes()[:-10], 422, "STL file"),
        ("glb/obj", (SAMPLES / "bracket.glb").read_bytes()[:-10], 422, "GLB file"),
        ("ply/obj", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", 422, "PLY file"),
        ("obj/stl", b"v 0 0 0\nv 1 0 0\n", 422, "OBJ file"),
        ("obj/stl", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", 422, "OBJ file"),
        ("stl/obj?deflection=1", b"x", 400, "Option 'deflection' is unknown"),
        ("step/obj?deflection=wide", b"x", 400, "from 1e-06 to 1000"),
        ("step/obj?angle=nan", b"x", 400, "from 1 to 60"),
    ],
)
def test_bad_input_gets_one_sentence(shared, path: str, data: bytes, status: int, words: str) -> None:  # type: ignore[no-untyped-def]
    api, engine = shared
    got, answer = post(api, path, data)
    assert got == status, answer
    assert words in answer["error"]
    assert answer["error"].endswith(".")
    assert "\n" not in answer["error"]
    assert engine.ready


@pytest.mark.parametrize(
    ("path", "status"),
    [("/async/operations/x", 404), ("/async/operations/00000000-0000-4000-8000-000000000000", 404), ("/nope", 404),
     ("/file/conversion/step/stl", 405)],
)  # fmt: skip
def test_wrong_addresses(shared, path: str, status: int) -> None:  # type: ignore[no-untyped-def]
    got, body = shared[0].get(path)
    assert got == status
    assert json.loads(body)["error"]


def test_200_mb_get_413_in_bounded_memory(stack: Stack) -> None:
    api = stack.api()

    def zeros(total: int):  # type: ignore[no-untyped-def]
        piece = bytes(1 << 20)
        for _ in range(total >> 20):
            yield piece

    for headers in ({"Content-Length": str(200 << 20)}, {"Transfer-Encoding": "chunked"}):
        status, body = request(
            api.port, "POST", "/file/conversion/stl/obj", zeros(200 << 20), timeout=120, headers=headers
        )
        assert status == 413
        assert json.loads(body)["error"] == "The file is larger than the 100 MiB that are taken: make it smaller."
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{api.pid}/status").read_text()).group(1))  # type: ignore[union-attr]
    assert peak < 150_000, f"{peak} kB"


def test_client_that_asks_first_is_refused_before_it_sends(stack: Stack, tmp_path: Path) -> None:
    api = stack.api(MAX_BODY=1 << 20)
    (tmp_path / "large").write_bytes(bytes(2 << 20))
    done = subprocess.run(
        ["curl", "-s", "-m", "60", "-H", "Expect: 100-continue", "--data-binary", f"@{tmp_path / 'large'}", "-w", "\n%{http_code} %{size_upload}",
         f"http://127.0.0.1:{api.port}/file/conversion/stl/obj"],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    body, _, numbers = done.stdout.rpartition("\n")
    assert numbers.split()[0] == "413", done.stdout
    assert "1 MiB" in json.loads(body)["error"]


def test_job_that_takes_too_long(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine(JOB_SECONDS=2)
    status, answer = post(api, "step/stl?deflection=0.003&angle=3", TORUS.read_bytes())
    assert (status, answer["status"]) == (422, "failed")
    assert answer["error"] == "The STEP file takes longer than the 2 s that a conversion may take."
    eventually(lambda: len(engine.children()) == 1, 10)  # the job is gone, the process that jobs are forked from is not
    assert post(api, "stl/obj", (SAMPLES / "box.stl").read_bytes())[0] == 201


def test_job_that_takes_too_much_memory(stack: Stack) -> None:
    """Python says so; C++ code just dies of it."""
    api, _ = stack.api(), stack.engine(JOB_MEMORY=128 << 20)
    rows = [f"v {i % 97} {i % 89} {i % 83}.{i}" for i in range(600_000)]
    rows += [f"f {i + 1} {i + 2} {i + 3}" for i in range(599_998)]
    for path, part in (
        ("obj/ply", "\n".join(rows).encode()),
        ("step/stl?deflection=0.002&angle=3", TORUS.read_bytes()),
    ):
        status, answer = post(api, path, part)
        assert status == 422
        assert " memory" in answer["error"], path


def test_crash_of_a_job_is_tried_again_then_told(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()

    zygote = engine.children()[0]
    crashed: set[int] = set()

    def crash_once() -> None:
        job = eventually(lambda: [pid for pid in engine.children() if pid != zygote and pid not in crashed])[0]
        time.sleep(0.3)  # into its work
        crashed.add(job)
        os.kill(job, signal.SIGSEGV)

    sent = background(lambda: post(api, "step/stl?deflection=0.03&angle=5", TORUS.read_bytes()))
    crash_once()
    status, answer = sent.result(timeout=120)
    assert (status, answer["status"]) == (201, "completed")  # the second try

    sent = background(lambda: post(api, "step/stl?deflection=0.031&angle=5", TORUS.read_bytes()))
    crash_once()
    crash_once()
    status, answer = sent.result(timeout=120)
    assert (status, answer["status"]) == (422, "failed")
    assert answer["error"] == (
        "The file made the converter crash 2 times, by a fault in it or for want of memory: "
        "repair or simplify it and send it again."
    )


def test_wrong_password_is_refused_and_told(stack: Stack) -> None:
    api = stack.service("api", NATS_PASSWORD="wrong", ACCEPT_TIMEOUT=0.5).start()
    answer = eventually(lambda: b"uthorization" in (body := _ready(api)) and body)
    assert b"wrong" not in answer.replace(b"wrong ", b"")
    status, refusal = post(api, "stl/obj", (SAMPLES / "box.stl").read_bytes())
    assert status == 503
    assert refusal["error"].startswith("NATS did not")
    assert PASSWORD not in json.dumps(refusal)


def _ready(api) -> bytes:  # type: ignore[no-untyped-def]
    try:
        status, body = api.get("/readyz")
    except (OSError, http.client.HTTPException):
        return b""
    assert status == 503
    return bytes(body)


def test_full_queue_is_told(stack: Stack) -> None:
    api = stack.api(WAIT=0, MAX_QUEUED=2)
    part = (SAMPLES / "box.stl").read_bytes()
    answers = [post(api, "stl/obj", part + bytes([i])) for i in range(3)]
    assert [status for status, _ in answers] == [202, 202, 429]
    assert "wait to be converted" in answers[2][1]["error"]


def test_same_content_at_once_is_one_conversion(stack: Stack) -> None:
    """Whichever API it comes to; and each has an operation of its own."""
    apis, engines = [stack.api(), stack.api()], [stack.engine(), stack.engine()]
    sent = [
        background(lambda api=api: post(api, "step/stl?deflection=0.05&angle=5", TORUS.read_bytes()))
        for api in apis * 2
    ]  # type: ignore[misc]
    answers = [one.result(timeout=120) for one in sent]
    assert [status for status, _ in answers] == [201] * 4, answers
    assert len({answer["id"] for _, answer in answers}) == 4
    outputs = {apis[0].get(answer["output_url"])[1] for _, answer in answers}
    assert len(outputs) == 1
    metrics = "".join(engine.get("/metrics")[1].decode() for engine in engines)
    done = re.findall(r'conversion_operations_total\{end="completed".*\} ([0-9.]+)', metrics)
    assert sum(map(float, done)) == 1, metrics


def test_operations_are_listed_cancelled_and_forgotten(stack: Stack) -> None:
    api = stack.api(WAIT=0)
    made = [
        post(api, "obj/stl", (SAMPLES / "box.obj").read_bytes() + b"# %d\n" % number)[1]["id"] for number in range(3)
    ]
    page = json.loads(api.get("/async/operations?limit=2")[1])
    assert [one["id"] for one in page["items"]] == [made[2], made[1]]
    page = json.loads(api.get(f"/async/operations?limit=2&page_token={page['next_page']}")[1])
    assert ([one["id"] for one in page["items"]], page["next_page"]) == ([made[0]], None)
    status, body = request(api.port, "DELETE", f"/async/operations/{made[0]}")
    assert (status, json.loads(body)["status"]) == (200, "cancelled")

    engine = stack.engine()
    eventually(lambda: operation(api, made[1])["status"] == operation(api, made[2])["status"] == "completed")
    assert operation(api, made[0])["status"] == "cancelled"
    eventually(lambda: b"conversion_queue_waiting 0.0" in engine.get("/metrics")[1])
    for one in made:
        assert request(api.port, "DELETE", f"/async/operations/{one}")[0] == 204
        assert api.get(f"/async/operations/{one}")[0] == 404
    assert json.loads(api.get("/async/operations")[1])["items"] == []


def test_a_job_that_is_cancelled_at_work_ends(stack: Stack) -> None:
    api, engine = stack.api(WAIT=0), stack.engine(JOB_SECONDS=120)
    made = post(api, "step/stl?deflection=0.003&angle=3", TORUS.read_bytes())[1]
    eventually(lambda: len(engine.children()) == 2)
    assert request(api.port, "DELETE", f"/async/operations/{made['id']}")[0] == 200
    eventually(lambda: len(engine.children()) == 1, 10)
    assert operation(api, made["id"])["status"] == "cancelled"
    assert post(api, "obj/stl", (SAMPLES / "box.obj").read_bytes())[0] == 202
    eventually(lambda: b'end="cancelled"' in engine.get("/metrics")[1])


def test_keys_and_probes_on_a_port_of_their_own(stack: Stack, tmp_path: Path) -> None:
    keys, entries = {}, []
    for name in ("acme", "rival"):
        keys[name], entry = made_key(name)
        entries.append({**json.loads(entry), "per_hour": 3 if name == "acme" else 0})
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    probes = free_port()
    apis = [
        stack.api(KEYS_FILE=tmp_path / "keys.json", PROBE_PORT=probes),
        stack.api(KEYS_FILE=tmp_path / "keys.json", PROBE_PORT=free_port()),
    ]
    stack.engine()

    def ask(name: str, method: str, path: str, data: bytes | None = None, api: int = 0) -> tuple[int, bytes]:
        return request(apis[api].port, method, path, data, headers={"Authorization": f"Bearer {keys[name]}"})

    assert request(apis[0].port, "POST", "/file/conversion/obj/stl", b"x")[0] == 401
    status, body = ask("acme", "POST", "/file/conversion/obj/stl", (SAMPLES / "box.obj").read_bytes())
    assert status == 201
    made = json.loads(body)["id"]
    assert ask("rival", "GET", f"/async/operations/{made}", api=1)[0] == 404
    assert ask("acme", "GET", f"/async/operations/{made}", api=1)[0] == 200
    assert json.loads(ask("rival", "GET", "/async/operations")[1])["items"] == []
    # The quota counts at both APIs together
    statuses = [
        ask("acme", "POST", "/file/conversion/obj/stl", b"v 1 2 %d" % turn, api=turn % 2)[0] for turn in range(4)
    ]
    assert statuses[:2] == [422, 422]
    assert statuses[2:] == [429, 429]

    for path in ("/healthz", "/readyz"):
        assert request(apis[0].port, "GET", path)[0] == request(probes, "GET", path)[0] == 200
    for path in ("/metrics", "/version", "/drain"):
        assert request(apis[0].port, "GET", path)[0] == 404
        assert request(probes, "GET", path)[0] == 200
    assert request(apis[0].port, "POST", "/drain")[0] == 404
    log = apis[0].log.read_text()
    assert re.search(
        r"INFO conversion.api.app \[[0-9a-f]{16}\]: POST /file/conversion/obj/stl from 127.0.0.1: 201", log
    )
    assert not any(key in log for key in keys.values())


def test_a_request_s_id_is_in_the_engine_s_log(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    status, _ = request(
        api.port,
        "POST",
        "/file/conversion/obj/stl",
        (SAMPLES / "box.obj").read_bytes(),
        headers={"X-Request-ID": "trace-me-7"},
    )
    assert status == 201
    for server in (api, engine):
        eventually(lambda server=server: "[trace-me-7]" in server.log.read_text(), 10)  # type: ignore[misc]


def test_standalone(stack: Stack) -> None:
    api = stack.service("api", NATS_URL="", REDIS_URL="")
    api.argv.append("--standalone")
    api.start()
    eventually(lambda: _is_ready(api))
    assert triangles(result(post(api, "step/glb", (SAMPLES / "bracket.step").read_bytes())[1]), "glb") == 420
    assert post(api, "step/glb", (SAMPLES / "bracket.step").read_bytes())[1]["cached"] is True
    assert api.end() == 0


def _is_ready(server) -> bool:  # type: ignore[no-untyped-def]
    return bool(server.ready)
