//! Decoding and encoding loses nothing that another writer of the format has put into a file, whether anybody here reads it or not.

use onnx_protobuf::tensor_proto::Segment;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TensorShapeProto, TrainingInfoProto, TypeProto, ValueInfoProto, type_proto,
};

fn entry(key: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value: format!("{key} of it"), ..Default::default() }
}

fn tensor(name: &str) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![2, 300],
        data_type: 1,
        segment: Some(Segment { begin: 1, end: 9, ..Default::default() }).into(),
        float_data: vec![1.5, f32::NEG_INFINITY],
        int32_data: vec![-1, 7],
        string_data: vec![b"\xff\xfe".to_vec()],
        int64_data: vec![i64::MIN, 3],
        double_data: vec![0.1],
        uint64_data: vec![u64::MAX],
        raw_data: vec![0, 255, 3],
        doc_string: "why".into(),
        external_data: vec![entry("location")],
        data_location: onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into(),
        metadata_props: vec![entry("tensor")],
        ..Default::default()
    }
}

fn sparse() -> SparseTensorProto {
    SparseTensorProto { values: Some(tensor("v")).into(), indices: Some(tensor("i")).into(), dims: vec![4, 4], ..Default::default() }
}

fn types() -> Vec<TypeProto> {
    let dim = |value| Dimension { value: Some(value), denotation: "DATA_BATCH".into(), ..Default::default() };
    let dims = vec![dim(dimension::Value::DimValue(3)), dim(dimension::Value::DimParam("n".into()))];
    let shape = TensorShapeProto { dim: dims, ..Default::default() };
    let of = |value| TypeProto { value: Some(value), denotation: "IMAGE".into(), ..Default::default() };
    let float =
        of(type_proto::Value::TensorType(type_proto::Tensor { elem_type: 1, shape: Some(shape.clone()).into(), ..Default::default() }));
    vec![
        float.clone(),
        of(type_proto::Value::SequenceType(type_proto::Sequence { elem_type: Some(float.clone()).into(), ..Default::default() })),
        of(type_proto::Value::MapType(type_proto::Map { key_type: 7, value_type: Some(float.clone()).into(), ..Default::default() })),
        of(type_proto::Value::OptionalType(type_proto::Optional { elem_type: Some(float).into(), ..Default::default() })),
        of(type_proto::Value::SparseTensorType(type_proto::SparseTensor { elem_type: 1, shape: Some(shape).into(), ..Default::default() })),
    ]
}

fn value(name: &str, ty: TypeProto) -> ValueInfoProto {
    ValueInfoProto {
        name: name.into(),
        type_: Some(ty).into(),
        doc_string: "a value".into(),
        metadata_props: vec![entry("value")],
        ..Default::default()
    }
}

/// A node with every field; `depth` graphs inside each other.
fn node(depth: usize) -> NodeProto {
    let mut attribute = AttributeProto {
        name: "a".into(),
        ref_attr_name: "outer".into(),
        doc_string: "an attribute".into(),
        type_: onnx_protobuf::attribute_proto::AttributeType::GRAPHS.into(),
        f: 2.5,
        i: -3,
        s: b"\x80".to_vec(),
        t: Some(tensor("t")).into(),
        sparse_tensor: Some(sparse()).into(),
        tp: types().pop().into(),
        floats: vec![1.0],
        ints: vec![1, -1],
        strings: vec![b"x".to_vec()],
        tensors: vec![tensor("u")],
        sparse_tensors: vec![sparse()],
        type_protos: types(),
        ..Default::default()
    };
    if depth > 0 {
        attribute.g = Some(graph(depth - 1)).into();
        attribute.graphs = vec![graph(depth - 1)];
    }
    let mut node = NodeProto {
        input: vec!["x".into(), String::new()],
        output: vec!["y".into()],
        name: "n".into(),
        op_type: "Op".into(),
        domain: "d".into(),
        overload: "o".into(),
        attribute: vec![attribute],
        doc_string: "a node".into(),
        metadata_props: vec![entry("node")],
        ..Default::default()
    };
    // placement, which the other implementation does not know: `configuration_id`, a sharding with all of its fields, a stage
    let sharded_dim = b"\x08\x01\x12\x04\x08\x04\x18\x02\x12\x05\x12\x01n\x18\x02";
    let mut sharding = b"\x0a\x01w\x12\x02\x00\x01\x1a\x06\x08\x05\x12\x02\x01\x02\x22".to_vec();
    sharding.push(sharded_dim.len() as u8);
    sharding.extend_from_slice(sharded_dim);
    let mut placement = b"\x0a\x02c1\x12".to_vec();
    placement.push(sharding.len() as u8);
    placement.extend(sharding);
    placement.extend_from_slice(b"\x18\x03");
    node.special_fields.mut_unknown_fields().add_length_delimited(10, placement);
    node
}

fn graph(depth: usize) -> GraphProto {
    GraphProto {
        node: vec![node(depth), node(0)],
        name: "g".into(),
        initializer: vec![tensor("w")],
        sparse_initializer: vec![sparse()],
        doc_string: "a graph".into(),
        input: types().into_iter().enumerate().map(|(i, ty)| value(&format!("x{i}"), ty)).collect(),
        output: vec![value("y", types().remove(0))],
        value_info: vec![value("h", types().remove(0))],
        quantization_annotation: vec![TensorAnnotation {
            tensor_name: "h".into(),
            quant_parameter_tensor_names: vec![entry("SCALE_TENSOR")],
            ..Default::default()
        }],
        metadata_props: vec![entry("graph")],
        ..Default::default()
    }
}

#[test]
fn everything_that_a_model_came_with_is_kept() {
    let opset = OperatorSetIdProto { domain: "d".into(), version: 21, ..Default::default() };
    let mut model = ModelProto {
        ir_version: 10,
        opset_import: vec![opset.clone()],
        producer_name: "p".into(),
        producer_version: "1".into(),
        domain: "org.example".into(),
        model_version: 42,
        doc_string: "a model".into(),
        graph: Some(graph(2)).into(),
        metadata_props: vec![entry("author"), entry("license")],
        training_info: vec![TrainingInfoProto {
            initialization: Some(graph(0)).into(),
            algorithm: Some(graph(0)).into(),
            initialization_binding: vec![entry("w")],
            update_binding: vec![entry("v")],
            ..Default::default()
        }],
        functions: vec![FunctionProto {
            name: "f".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            attribute: vec!["a".into()],
            attribute_proto: node(0).attribute,
            node: vec![node(0)],
            doc_string: "a function".into(),
            opset_import: vec![opset],
            domain: "d".into(),
            overload: "o".into(),
            value_info: vec![value("h", types().remove(0))],
            metadata_props: vec![entry("function")],
            ..Default::default()
        }],
        ..Default::default()
    };
    // device configurations, which the other implementation does not know
    model.special_fields.mut_unknown_fields().add_length_delimited(26, b"\x0a\x02c1\x10\x02\x1a\x03gpu\x1a\x03cpu".to_vec());
    let file = model.write_to_bytes().expect("into memory");
    let ours = frontend::proto::decode(file.into()).expect("a model");
    let back = ModelProto::parse_from_bytes(&frontend::proto::encode(&ours)).expect("it is still a model");
    assert_eq!(back, model);
}
