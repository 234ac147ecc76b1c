"""ONNX files as exporters write them: several inputs and outputs, branches, a label with a map of probabilities."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def linear(inputs: int = 1, outputs: int = 1, op: str = "Gemm") -> onnx.ModelProto:
    """A model (N, 3) → (N, 2) with 8 parameters."""
    weights = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "w")
    bias = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "b")
    nodes = [helper.make_node(op, ["x0", "w", "b"], ["y0"])]
    nodes += [helper.make_node("Relu", ["y0"], [f"y{i}"]) for i in range(1, outputs)]
    ins = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, ["n", 3]) for i in range(inputs)]
    outs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["n", 2]) for i in range(outputs)]
    graph = helper.make_graph(nodes, "g", ins, outs, [weights, bias])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def branches(*, external: bool) -> onnx.ModelProto:
    """A model with a constant in each branch of an If, one of them in another file."""
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    if external:
        onnx.external_data_helper.set_external_data(weights, location="weights.bin", length=24)
        weights.ClearField("raw_data")
    nodes = {
        "then": helper.make_node("MatMul", ["x0", "w"], ["then"]),
        "otherwise": helper.make_node("MatMul", ["x0", "w"], ["otherwise"]),
    }
    ends = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in (*nodes, "y0")}
    graphs = {name: helper.make_graph([node], name, [], [ends[name]], [weights]) for name, node in nodes.items()}
    yes = numpy_helper.from_array(np.array(True), "yes")
    choice = helper.make_node("If", ["yes"], ["y0"], then_branch=graphs["then"], else_branch=graphs["otherwise"])
    taken = helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([choice], "g", [taken], [ends["y0"]], [yes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def passing_on(
    shape: list[int | str], element: int = TensorProto.FLOAT, outputs: int = 1, opset: int = 13
) -> onnx.ModelProto:
    """A model that gives its input as floats, so that a test sees what it was given."""
    nodes = [
        helper.make_node("Cast", ["x"], [f"y{each}"], name=f"n{each}", to=TensorProto.FLOAT) for each in range(outputs)
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info(f"y{each}", TensorProto.FLOAT, shape) for each in range(outputs)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def scikit_learn(*, zipmap: bool, classes: tuple[str, ...] = ("apple", "pear")) -> onnx.ModelProto:
    """What skl2onnx makes of a logistic regression of two features."""
    weights = [-1.0, 2.0, 1.0, -2.0]
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["rows"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            classlabels_strings=classes,
            coefficients=weights,
            intercepts=[0.5, -0.5],
            multi_class=1,
            post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["raw"], ["probabilities"], domain="ai.onnx.ml", norm="L1"),
    ]
    label = helper.make_tensor_value_info("label", TensorProto.STRING, ["N"])
    scores = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])
    if zipmap:
        nodes.append(
            helper.make_node(
                "ZipMap", ["probabilities"], ["output_probability"], domain="ai.onnx.ml", classlabels_strings=classes
            )
        )
        kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        scores = helper.make_value_info("output_probability", helper.make_sequence_type_proto(kind))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 2])], [label, scores]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8)
