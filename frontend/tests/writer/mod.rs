//! Models for tests, written by another implementation of the file format than the one that reads them.

use bytes::Bytes;
use frontend::{Import, NoFiles, Options};
use ir::graph::{eval, text};
use ir::{Fault, Tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;
pub const BOOL: i32 = 9;
pub const FLOAT16: i32 = 10;
pub const DOUBLE: i32 = 11;
pub const BFLOAT16: i32 = 16;

/// An input or output; a dimension is a number or a name.
pub fn value(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| {
        let value = match text.parse::<i64>() {
            Ok(size) => dimension::Value::DimValue(size),
            Err(_) => dimension::Value::DimParam(text.to_string()),
        };
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect(), ..TensorShapeProto::default() };
    let tensor = type_proto::Tensor { elem_type, shape: Some(shape).into(), ..type_proto::Tensor::default() };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), type_: Some(ty).into(), ..ValueInfoProto::default() }
}

/// A node named after its operator and output, such as `Relu_y`.
pub fn node(op: &str, input: &[&str], output: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{op}_{}", output.first().unwrap_or(&"")),
        op_type: op.into(),
        input: input.iter().map(|s| s.to_string()).collect(),
        output: output.iter().map(|s| s.to_string()).collect(),
        attribute,
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), type_: kind.into(), ..AttributeProto::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::INT) }
}

pub fn ints(name: &str, list: &[i64]) -> AttributeProto {
    AttributeProto { ints: list.to_vec(), ..attribute(name, AttributeType::INTS) }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::FLOAT) }
}

pub fn words(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: text.as_bytes().to_vec(), ..attribute(name, AttributeType::STRING) }
}

pub fn graph_attribute(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(graph).into(), ..attribute(name, AttributeType::GRAPH) }
}

/// An attribute of a function's body that is the call's attribute `of`.
pub fn reference(name: &str, of: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { ref_attr_name: of.into(), ..attribute(name, kind) }
}

pub fn floats_tensor(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    let raw_data = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: FLOAT, raw_data, ..TensorProto::default() }
}

pub fn ints_tensor(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: INT64, int64_data: data.to_vec(), ..TensorProto::default() }
}

pub fn graph(input: Vec<ValueInfoProto>, nodes: Vec<NodeProto>, output: Vec<ValueInfoProto>) -> GraphProto {
    GraphProto { name: "test".into(), input, node: nodes, output, ..GraphProto::default() }
}

/// A model of one graph.
pub struct Written {
    pub model: ModelProto,
}

pub fn model(opset: i64, graph: GraphProto) -> Written {
    let opset = OperatorSetIdProto { version: opset, ..OperatorSetIdProto::default() };
    Written { model: ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph).into(), ..ModelProto::default() } }
}

impl Written {
    pub fn constants(mut self, tensors: Vec<TensorProto>) -> Written {
        self.model.graph.as_mut().expect("there is a graph").initializer = tensors;
        self
    }

    pub fn functions(mut self, functions: Vec<FunctionProto>) -> Written {
        let own = OperatorSetIdProto { domain: "own".into(), version: 1, ..OperatorSetIdProto::default() };
        self.model.opset_import.push(own);
        self.model.functions = functions;
        self
    }

    pub fn bytes(&self) -> Bytes {
        self.model.write_to_bytes().expect("the model can be written").into()
    }

    pub fn import(&self, options: &Options) -> Result<Import, Vec<Fault>> {
        let import = frontend::import(self.bytes(), &NoFiles, options)?;
        ir::graph::verify::verify(&import.graph).expect("an imported graph is valid");
        Ok(import)
    }

    /// The imported graph as text, without the constants' names and contents.
    pub fn text(&self) -> String {
        text::print(&self.import(&Options::default()).expect("the model is valid").graph)
    }

    /// What the model computes, according to the oracle.
    pub fn run(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let import = self.import(&Options::default()).expect("the model is valid");
        eval::eval(&import.graph, inputs).expect("the inputs fit")
    }

    /// The faults, one per line.
    pub fn faults(&self, options: &Options) -> String {
        let faults = self.import(options).expect_err("the model is faulty");
        faults.iter().map(|f| format!("{:?} {f}\n", f.kind)).collect()
    }
}

/// A function of domain `own` in opset 17.
pub fn function(name: &str, inputs: &[&str], outputs: &[&str], attributes: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let texts = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version, ..OperatorSetIdProto::default() };
    FunctionProto {
        name: name.into(),
        domain: "own".into(),
        input: texts(inputs),
        output: texts(outputs),
        attribute: texts(attributes),
        node: nodes,
        opset_import: vec![opset("", 17), opset("own", 1)],
        ..FunctionProto::default()
    }
}

/// A call of a function of domain `own`.
pub fn call(name: &str, input: &[&str], output: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto { domain: "own".into(), ..node(name, input, output, attribute) }
}
