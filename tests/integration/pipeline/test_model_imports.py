import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import DatasetFacts, ModelFacts
from edgewright.errors import SourceUnavailable, StepFailed
from edgewright.pipeline.imported.pinned import without_secrets
from edgewright.pipeline.imported.step import build
from edgewright.pipeline.runner.tasks import StagedTask, StepContext
from samples.onnx_exports import branches, linear
from samples.training_data import ProgressLog, start


def digest(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def context(
    tmp_path: Path, uri: str, pinned: str, *, progress: ProgressLog | None = None, rows: tuple[int, ...] | None = None
) -> StepContext:
    (tmp_path / "repo").mkdir(exist_ok=True)
    task = StagedTask(
        action=Action.IMPORT,
        address=Address("model", "m"),
        fingerprint="f" * 64,
        spec={"task": "tabular-classification", "dataset": "d", "source": {"uri": uri, "digest": pinned}},
        checkout=tmp_path / "repo",
        inputs={},
        facts={"dataset": dataset_of(rows)} if rows else {},
        workdir=tmp_path / "work",
    )
    return start(task, progress)


def dataset_of(shape: tuple[int, ...]) -> DatasetFacts:
    """Facts of a dataset whose rows have a shape."""
    return DatasetFacts(
        columns={}, features=(), label="label", slices={}, input_shape=shape, rows={}, content_digest="sha256:0"
    )


def put(tmp_path: Path, data: bytes, name: str = "model.onnx") -> str:
    """Put a file into the repository; returns its digest."""
    path = tmp_path / "repo" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest(data)


def test_a_file_of_the_repository_is_copied_and_named_by_its_digest(tmp_path: Path) -> None:
    pinned = put(tmp_path, linear().SerializeToString(), "models/m.onnx")
    progress = ProgressLog()

    built = build(context(tmp_path, "models/m.onnx", pinned, progress=progress, rows=(3,)))

    assert built.digest == pinned
    assert built.facts == ModelFacts(parameters=8)
    assert built.files["model.onnx"].read_bytes() == (tmp_path / "repo/models/m.onnx").read_bytes()
    size = built.files["model.onnx"].stat().st_size
    assert progress.calls[-1] == (size, size, "byte", {})
    session = onnxruntime.InferenceSession(str(built.files["model.onnx"]))
    assert session.run(None, {"x0": np.ones((1, 3), np.float32)})[0].tolist() == [[6.0, 9.0]]


def test_another_file_than_the_pinned_one_is_refused_with_both_digests(tmp_path: Path) -> None:
    found, pinned = put(tmp_path, linear().SerializeToString()), digest(b"other")
    with pytest.raises(StepFailed) as caught:
        build(context(tmp_path, "model.onnx", pinned))
    assert found in caught.value.message
    assert pinned in caught.value.message
    assert not (tmp_path / "work/out/model.onnx").exists()


def external() -> bytes:
    model = linear()
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


def constant_elsewhere() -> bytes:
    """A model whose weights are a Constant's, in another file."""
    model = linear()
    tensor = model.graph.initializer.pop(0)
    onnx.external_data_helper.set_external_data(tensor, location="weights.bin", length=24)
    tensor.ClearField("raw_data")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    return bytes(model.SerializeToString())


def optimised(folder: Path, level: onnxruntime.GraphOptimizationLevel) -> bytes:
    """A convolution as onnxruntime saves it after having optimised it."""
    weights = numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x0", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y0"])],
        "g",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, ["n", 16, 6, 6])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return (folder / "optimised.onnx").read_bytes()


def test_a_model_saved_for_one_processor_is_refused(tmp_path: Path) -> None:
    levels = onnxruntime.GraphOptimizationLevel
    portable = optimised(tmp_path, levels.ORT_ENABLE_EXTENDED)
    assert build(context(tmp_path, "model.onnx", put(tmp_path, portable))).facts.parameters == 432

    bound = optimised(tmp_path, levels.ORT_ENABLE_ALL)
    if all(node.domain == "" for node in onnx.load_from_string(bound).graph.node):
        pytest.skip("onnxruntime lays nothing out for this processor")
    with pytest.raises(StepFailed, match=r"operators for one kind of processor: com\.microsoft\.nchwc\.Conv"):
        build(context(tmp_path, "model.onnx", put(tmp_path, bound)))


def test_a_models_own_functions_are_no_foreign_operators(tmp_path: Path) -> None:
    body = [helper.make_node("Gemm", ["a", "b", "c"], ["d"])]
    imports = [helper.make_opsetid("", 18)]
    function = helper.make_function("my.layers", "Dense", ["a", "b", "c"], ["d"], body, imports)
    model = linear(op="Dense")
    model.graph.node[0].domain = "my.layers"
    model.opset_import.append(helper.make_opsetid("my.layers", 1))
    model.functions.append(function)
    assert build(context(tmp_path, "model.onnx", put(tmp_path, model.SerializeToString()))).facts.parameters == 8


def test_numbers_of_branches_are_counted(tmp_path: Path) -> None:
    data = branches(external=False).SerializeToString()
    assert build(context(tmp_path, "model.onnx", put(tmp_path, data))).facts.parameters == 13


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not a model at all " * 9, "model.onnx is no valid ONNX model"),
        (b"", "model.onnx is no valid ONNX model"),
        (linear(inputs=2).SerializeToString(), r"has 2 inputs \(x0, x1\); it must have exactly one"),
        (linear(outputs=2).SerializeToString(), r"has 2 outputs \(y0, y1\); it must have exactly one"),
        (linear(op="Gemmm").SerializeToString(), "model.onnx is no valid ONNX model: No Op registered for Gemmm"),
        (external(), "model.onnx keeps weights in other files: w, b"),
        (branches(external=True).SerializeToString(), "model.onnx keeps weights in other files: w, w"),
        (constant_elsewhere(), "model.onnx keeps weights in other files: w"),
    ],
)
def test_what_is_no_usable_model_is_explained(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(StepFailed, match=message) as caught:
        build(context(tmp_path, "model.onnx", put(tmp_path, data)))
    assert caught.value.hint


def scikit_learn(*, zipmap: bool) -> bytes:
    """A classifier as skl2onnx writes it: a label, and scores as a tensor or, by default, as a map of classes."""
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            coefficients=[0.5] * 6,
            intercepts=[0.0, 1.0],
            classlabels_ints=[0, 1],
        ),
        helper.make_node(
            "ZipMap", ["probabilities"], ["output_probability"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
        ),
    ]
    probability = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    mapped = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, probability))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
        helper.make_value_info("output_probability", mapped)
        if zipmap
        else helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2]),
    ]
    taken = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes if zipmap else nodes[:1], "g", [taken], outputs)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=10).SerializeToString())


def test_advice_on_an_export_of_scikit_learn_can_be_followed(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="it must have exactly one") as default:
        build(context(tmp_path, "model.onnx", put(tmp_path, scikit_learn(zipmap=True))))
    assert "options={'zipmap': False}" in (default.value.hint or "")

    with pytest.raises(StepFailed, match="it must have exactly one") as tensors:
        build(context(tmp_path, "model.onnx", put(tmp_path, scikit_learn(zipmap=False))))
    command = "onnx.utils.extract_model(IN, OUT, ['X'], ['probabilities'])"
    assert (default.value.hint or "").endswith(command)
    assert (tensors.value.hint or "").endswith(command)

    onnx.utils.extract_model(str(tmp_path / "repo/model.onnx"), str(tmp_path / "cut.onnx"), ["X"], ["probabilities"])
    pinned = put(tmp_path, (tmp_path / "cut.onnx").read_bytes())
    assert build(context(tmp_path, "model.onnx", pinned)).digest == pinned


def test_an_operator_that_onnxruntime_does_not_have_is_explained(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(StepFailed, match=r"onnxruntime \S+ cannot run model.onnx: .*com\.example"):
        build(context(tmp_path, "model.onnx", put(tmp_path, model.SerializeToString())))


def test_a_model_of_another_input_shape_than_the_dataset_is_refused(tmp_path: Path) -> None:
    pinned = put(tmp_path, linear().SerializeToString())
    with pytest.raises(
        StepFailed, match=r"takes x0 of shape \['n', 3\], but the dataset's rows are \['N', 1, 16, 16\]"
    ):
        build(context(tmp_path, "model.onnx", pinned, rows=(1, 16, 16)))


@pytest.mark.parametrize("uri", ["nothing.onnx", "../outside.onnx", "link.onnx", "/etc/hostname"])
def test_a_path_outside_the_repository_or_without_a_file_is_refused(tmp_path: Path, uri: str) -> None:
    pinned = put(tmp_path, linear().SerializeToString(), "../outside.onnx")
    (tmp_path / "repo/link.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(StepFailed, match=r"is not there|leads out of the repository"):
        build(context(tmp_path, uri, pinned))


@contextmanager
def server(status: int, body: bytes, *, announced: int | None = None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/m.onnx"
        finally:
            httpd.shutdown()
            thread.join()


def test_a_file_is_fetched_over_http(tmp_path: Path) -> None:
    data = linear().SerializeToString()
    with server(200, data) as url:
        assert build(context(tmp_path, url, digest(data))).digest == digest(data)


@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_a_server_that_refuses_is_for_the_user_to_mend(tmp_path: Path, status: int) -> None:
    with server(status, b"no") as url, pytest.raises(StepFailed, match=r"m\.onnx"):
        build(context(tmp_path, url, digest(b"x")))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_may_be_asked_again(tmp_path: Path, status: int) -> None:
    with server(status, b"later") as url, pytest.raises(SourceUnavailable, match=str(status)):
        build(context(tmp_path, url, digest(b"x")))


def test_a_connection_that_breaks_or_is_refused_may_be_tried_again(tmp_path: Path) -> None:
    data = linear().SerializeToString()
    with server(200, data[:50], announced=len(data)) as url, pytest.raises(SourceUnavailable, match="did not answer"):
        build(context(tmp_path, url, digest(data)))
    with pytest.raises(SourceUnavailable, match="did not answer"):
        build(context(tmp_path, url, digest(data)))


def test_other_urls_are_opened_by_fsspec_and_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    pinned = put(tmp_path, linear().SerializeToString(), "../outside.onnx")
    assert build(context(tmp_path, (tmp_path / "outside.onnx").as_uri(), pinned)).digest == pinned
    with pytest.raises(StepFailed, match=r"cannot read warp://x/m\.onnx: .*warp"):
        build(context(tmp_path, "warp://x/m.onnx", pinned))
    with pytest.raises(StepFailed, match=r"file:///nowhere/m\.onnx is not there"):
        build(context(tmp_path, "file:///nowhere/m.onnx", pinned))


def test_credentials_in_a_url_are_not_shown() -> None:
    assert without_secrets("https://me:hunter2@host:8080/m.onnx?token=abc") == "https://host:8080/m.onnx"
