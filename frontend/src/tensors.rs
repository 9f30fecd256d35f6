//! The tensors of a model file as constants: raw, typed, packed, sparse or in a file beside the model; every
//! length is checked before a byte is touched. Where the file's bytes can be used as they lie, they are.
//! It refuses to know who uses them.

use bytes::Bytes;
use ir::{Dtype, Fault, Tensor};

use crate::Limits;
use crate::build::Build;
use crate::proto::{self, data_type};
use crate::source::{Source, location_is_safe};

/// The element type of that number. Fault: none such, or one this compiler has no values of.
pub fn dtype(number: i32) -> Result<Dtype, Fault> {
    if let Some(dtype) = Dtype::from_onnx(number) {
        return Ok(dtype);
    }
    let name = usize::try_from(number).ok().and_then(|n| data_type::NAMES.get(n));
    match name {
        None | Some(&"undefined") => Err(Fault::invalid(format!("there is no element type {number}"))),
        Some(name) => Err(Fault::unsupported(format!("the element type {name} is not supported"))),
    }
}

/// Sizes from a file's dimensions. Fault: a negative one, too many, or more bytes than the limit.
pub fn sizes(dims: &[i64], dtype: Dtype, limits: &Limits) -> Result<Vec<usize>, Fault> {
    if dims.len() > limits.rank {
        return Err(Fault::limit(format!("it has {} axes; at most {} are handled", dims.len(), limits.rank)));
    }
    let sizes: Vec<usize> = dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Fault::invalid(format!("the dimensions {dims:?} hold a negative one"))))
        .collect::<Result<_, _>>()?;
    // A zero among huge dimensions still means no bytes.
    let bytes =
        if sizes.contains(&0) { Some(0) } else { sizes.iter().try_fold(dtype.bytes() as u64, |total, &n| total.checked_mul(n as u64)) };
    match bytes {
        Some(bytes) if bytes <= limits.bytes => Ok(sizes),
        _ => Err(Fault::limit(format!("a tensor of dimensions {dims:?} is larger than {} bytes", limits.bytes))),
    }
}

/// A tensor of the file. Faults name neither tensor nor node: the caller knows them.
pub fn read(tensor: &proto::Tensor, source: &dyn Source, limits: &Limits) -> Result<Tensor, Fault> {
    let dtype = dtype(tensor.data_type.unwrap_or(0))?;
    let shape = sizes(&tensor.dims, dtype, limits)?;
    if tensor.segment.is_some() {
        return Err(Fault::unsupported("tensors in segments are not supported"));
    }
    let count: usize = shape.iter().product();
    let stored = packed_bytes(dtype, count);
    let raw = if tensor.data_location == Some(proto::EXTERNAL) {
        if tensor.raw_data.is_some() || typed_len(tensor) > 0 {
            return Err(Fault::file("it has data of its own and also data in another file"));
        }
        external(tensor, stored, source)?
    } else if let Some(raw) = &tensor.raw_data {
        if typed_len(tensor) > 0 {
            return Err(Fault::invalid("it has raw data and also typed data"));
        }
        raw.clone()
    } else {
        return typed(tensor, dtype, &shape, count);
    };
    if raw.len() != stored {
        return Err(Fault::invalid(format!("it has {} bytes of data; {}{shape:?} needs {stored}", raw.len(), dtype.name())));
    }
    if dtype == Dtype::Bool
        && let Some(odd) = raw.iter().find(|b| **b > 1)
    {
        return Err(Fault::invalid(format!("a bool is {odd}, and must be 0 or 1")));
    }
    let dense = if stored == count * dtype.bytes() { raw } else { unpack(dtype, &raw, count) };
    Ok(Tensor::dense(dtype, &shape, dense))
}

/// Bytes of `count` elements as a file stores them: types below eight bits are packed.
fn packed_bytes(dtype: Dtype, count: usize) -> usize {
    match dtype.bits() {
        bits @ (2 | 4) => (count * bits as usize).div_ceil(8),
        _ => count * dtype.bytes(),
    }
}

/// One byte per element, the lowest bits of each byte first; signed ones sign-extended.
fn unpack(dtype: Dtype, packed: &[u8], count: usize) -> Bytes {
    let bits = dtype.bits();
    let (each, mask) = (8 / bits as usize, (1u8 << bits) - 1);
    let sign = if dtype.is_signed_int() { 1u8 << (bits - 1) } else { 0 };
    let one = |i: usize| {
        let value = packed[i / each] >> ((i % each) as u32 * bits) & mask;
        if value & sign != 0 { value | !mask } else { value }
    };
    (0..count).map(one).collect::<Vec<u8>>().into()
}

fn typed_len(tensor: &proto::Tensor) -> usize {
    tensor.float_data.len()
        + tensor.int32_data.len()
        + tensor.int64_data.len()
        + tensor.double_data.len()
        + tensor.uint64_data.len()
        + tensor.string_data.len()
}

/// Data in the field that its type calls for.
fn typed(tensor: &proto::Tensor, dtype: Dtype, shape: &[usize], count: usize) -> Result<Tensor, Fault> {
    let packed = packed_bytes(dtype, count);
    let is_packed = packed != count * dtype.bytes();
    let (have, want, field) = match dtype {
        Dtype::F32 => (tensor.float_data.len(), count, "float_data"),
        Dtype::F64 => (tensor.double_data.len(), count, "double_data"),
        Dtype::I64 => (tensor.int64_data.len(), count, "int64_data"),
        Dtype::U32 | Dtype::U64 => (tensor.uint64_data.len(), count, "uint64_data"),
        Dtype::F16
        | Dtype::BF16
        | Dtype::I8
        | Dtype::I16
        | Dtype::I32
        | Dtype::U8
        | Dtype::U16
        | Dtype::Bool
        | Dtype::I4
        | Dtype::U4
        | Dtype::I2
        | Dtype::U2
        | Dtype::F8E4M3
        | Dtype::F8E4M3Z
        | Dtype::F8E5M2
        | Dtype::F8E5M2Z
        | Dtype::F8E8M0
        | Dtype::F4E2M1 => (tensor.int32_data.len(), if is_packed { packed } else { count }, "int32_data"),
    };
    if typed_len(tensor) != have {
        return Err(Fault::invalid(format!("its data stands in another field than {field}")));
    }
    if have != want {
        return Err(Fault::invalid(format!("it has {have} elements of data; {}{shape:?} needs {want}", dtype.name())));
    }
    let mut out = Vec::with_capacity(count * dtype.bytes());
    match field {
        "float_data" => out.extend(tensor.float_data.iter().flat_map(|v| v.to_le_bytes())),
        "double_data" => out.extend(tensor.double_data.iter().flat_map(|v| v.to_le_bytes())),
        "int64_data" => out.extend(tensor.int64_data.iter().flat_map(|v| v.to_le_bytes())),
        "uint64_data" => {
            for &value in &tensor.uint64_data {
                if dtype == Dtype::U32 && value > u64::from(u32::MAX) {
                    return Err(Fault::invalid(format!("the value {value} does not fit u32")));
                }
                out.extend_from_slice(&value.to_le_bytes()[..dtype.bytes()]);
            }
        }
        _ => {
            let (low, high) = match dtype {
                Dtype::Bool => (0, 1),
                _ if is_packed => (-128, 255),
                _ => match dtype.int_range() {
                    Some(range) => range,
                    // floats travel as their bits
                    None => (0, (1i128 << (dtype.bytes() * 8)) - 1),
                },
            };
            for &value in &tensor.int32_data {
                if !(low..=high).contains(&i128::from(value)) {
                    return Err(Fault::invalid(format!("the value {value} does not fit {}", dtype.name())));
                }
                out.extend_from_slice(&value.to_le_bytes()[..dtype.bytes()]);
            }
        }
    }
    let dense = if is_packed { unpack(dtype, &out, count) } else { out.into() };
    Ok(Tensor::dense(dtype, shape, dense))
}

/// The bytes of a tensor in a file beside the model, `wanted` of them.
fn external(tensor: &proto::Tensor, wanted: usize, source: &dyn Source) -> Result<Bytes, Fault> {
    let (mut location, mut offset, mut length) = (None, None, None);
    for entry in &tensor.external_data {
        let slot = match entry.key.as_deref() {
            Some("location") => &mut location,
            Some("offset") => &mut offset,
            Some("length") => &mut length,
            _ => continue,
        };
        let value = entry.value.as_deref().unwrap_or("");
        if slot.replace(value).is_some() {
            return Err(Fault::file(format!("its external data gives {:?} twice", entry.key.as_deref().unwrap_or(""))));
        }
    }
    let Some(location) = location else { return Err(Fault::file("its external data has no location")) };
    if let Err(why) = location_is_safe(location) {
        return Err(Fault::file(format!("its external data lies at {location:?}, which is refused: {why}")));
    }
    let number = |name: &str, text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Fault::file(format!("the {name} {text:?} of its external data is not a size"))),
        },
    };
    let offset = number("offset", offset)?.unwrap_or(0);
    let wanted = wanted as u64;
    if let Some(length) = number("length", length)?
        && length != wanted
    {
        return Err(Fault::file(format!("its external data has {length} bytes; the tensor needs {wanted}")));
    }
    if offset.checked_add(wanted).is_none() {
        return Err(Fault::file(format!("the offset {offset} of its external data is past the end of any file")));
    }
    let bytes = source
        .external(location, offset, Some(wanted))
        .map_err(|error| Fault::file(format!("its external data in {location:?}: {}", error.0)))?;
    if bytes.len() as u64 != wanted {
        return Err(Fault::file(format!("{location:?} gave {} bytes; the tensor needs {wanted}", bytes.len())));
    }
    Ok(bytes)
}

/// Counts what a sparse tensor takes when dense. Fault: see [`Build::room`].
pub fn room(sparse: &proto::SparseTensor, build: &mut Build) -> Result<(), Fault> {
    // an empty axis among huge ones makes it nothing; what cannot be counted is refused where it is read
    let elements = sparse.dims.iter().try_fold(1u64, |all, &n| all.checked_mul(u64::try_from(n).ok()?)).unwrap_or(0);
    let values = sparse.values.as_ref().and_then(|v| v.data_type).unwrap_or(0);
    build.room(elements, dtype(values)?)
}

/// A sparse tensor, made dense. Fault: indices that are out of range, out of order, or of another count.
pub fn read_sparse(sparse: &proto::SparseTensor, source: &dyn Source, limits: &Limits) -> Result<Tensor, Fault> {
    let Some(values) = &sparse.values else { return Err(Fault::invalid("a sparse tensor has no values")) };
    let values = read(values, source, limits)?;
    let shape = sizes(&sparse.dims, values.dtype(), limits)?;
    let count: usize = shape.iter().product();
    let width = values.dtype().bytes();
    if (count * width) as u64 > limits.dense {
        return Err(Fault::limit(format!("a sparse tensor of dimensions {shape:?} is larger than {} bytes when dense", limits.dense)));
    }
    let [filled] = *values.shape() else { return Err(Fault::invalid("the values of a sparse tensor are no list")) };
    let empty = proto::Tensor { dims: vec![0], data_type: Some(data_type::INT64), ..proto::Tensor::default() };
    let indices = read(sparse.indices.as_ref().unwrap_or(&empty), source, limits)?;
    if indices.dtype() != Dtype::I64 {
        return Err(Fault::invalid("the indices of a sparse tensor are not int64"));
    }
    let flat = indices.to_i64s();
    let places: Vec<Option<usize>> = match *indices.shape() {
        [n] if n == filled => flat.iter().map(|&i| usize::try_from(i).ok().filter(|i| *i < count)).collect(),
        [n, axes] if n == filled && axes == shape.len() && axes > 0 => flat
            .chunks_exact(axes)
            .map(|index| {
                index
                    .iter()
                    .zip(&shape)
                    .try_fold(0usize, |at, (&i, &size)| usize::try_from(i).ok().filter(|i| *i < size).map(|i| at * size + i))
            })
            .collect(),
        _ => {
            return Err(Fault::invalid(format!("a sparse tensor has {filled} values and indices of shape {:?}", indices.shape())));
        }
    };
    let mut dense = vec![0u8; count * width];
    let mut last = None;
    for (place, value) in places.into_iter().zip(values.bytes().chunks_exact(width)) {
        let Some(place) = place else { return Err(Fault::invalid("an index of a sparse tensor is out of range")) };
        if last.is_some_and(|last| last >= place) {
            return Err(Fault::invalid("the indices of a sparse tensor are not in ascending order"));
        }
        last = Some(place);
        dense[place * width..][..width].copy_from_slice(value);
    }
    Ok(Tensor::dense(values.dtype(), &shape, dense))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{NoFiles, SourceError};

    fn raw(dims: &[i64], data_type: i32, data: &[u8]) -> proto::Tensor {
        proto::Tensor {
            dims: dims.to_vec(),
            data_type: Some(data_type),
            raw_data: Some(Bytes::copy_from_slice(data)),
            ..proto::Tensor::default()
        }
    }

    fn reads(tensor: &proto::Tensor) -> Result<Tensor, Fault> {
        read(tensor, &NoFiles, &Limits::default())
    }

    #[test]
    fn packed_types_take_a_byte_each() {
        let t = reads(&raw(&[3], data_type::INT4, &[0x8f, 0x07])).expect("three nibbles in two bytes");
        assert_eq!(t.to_i64s(), [-1, -8, 7]);
        let t = reads(&raw(&[3], data_type::UINT4, &[0x8f, 0x07])).expect("the same, unsigned");
        assert_eq!(t.to_i64s(), [15, 8, 7]);
        assert!(reads(&raw(&[3], data_type::INT4, &[0x8f])).is_err());
    }

    #[test]
    fn lengths_must_fit() {
        assert!(reads(&raw(&[3], data_type::FLOAT, &[0; 12])).is_ok());
        for length in [0, 11, 13, 400] {
            assert_eq!(reads(&raw(&[3], data_type::FLOAT, &vec![0; length])).map_err(|f| f.kind), Err(ir::Kind::Invalid));
        }
        let huge = raw(&[1 << 33, 1 << 33], data_type::FLOAT, &[]);
        assert_eq!(reads(&huge).map_err(|f| f.kind), Err(ir::Kind::Limit));
        assert_eq!(reads(&raw(&[-1], data_type::FLOAT, &[])).map_err(|f| f.kind), Err(ir::Kind::Invalid));
        assert!(reads(&raw(&[0, 1 << 40], data_type::FLOAT, &[])).is_ok());
    }

    #[test]
    fn typed_data_is_range_checked() {
        let t = |value: i32, kind: i32| proto::Tensor {
            dims: vec![1],
            data_type: Some(kind),
            int32_data: vec![value],
            ..proto::Tensor::default()
        };
        assert_eq!(reads(&t(-3, data_type::INT8)).expect("fits").to_i64s(), [-3]);
        assert!(reads(&t(300, data_type::UINT8)).is_err());
        assert!(reads(&t(-1, data_type::UINT8)).is_err());
        assert_eq!(reads(&t(0x3c00, data_type::FLOAT16)).expect("bits of 1.0").to_f32s(), [1.0]);
        assert!(reads(&t(1, data_type::FLOAT)).is_err());
    }

    struct OneFile;
    impl Source for OneFile {
        fn external(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, SourceError> {
            assert_eq!(location, "w.bin");
            let (from, to) = (offset as usize, (offset + length.unwrap_or(0)) as usize);
            let file = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]);
            if to > file.len() { Err(SourceError("past the end".into())) } else { Ok(file.slice(from..to)) }
        }
    }

    #[test]
    fn external_data_is_checked_before_it_is_read() {
        let entry = |key: &str, value: &str| proto::Entry { key: Some(key.into()), value: Some(value.into()) };
        let t = |entries: &[proto::Entry]| proto::Tensor {
            dims: vec![4],
            data_type: Some(data_type::UINT8),
            data_location: Some(proto::EXTERNAL),
            external_data: entries.to_vec(),
            ..proto::Tensor::default()
        };
        let go = |entries: &[proto::Entry]| read(&t(entries), &OneFile, &Limits::default());
        let good = go(&[entry("location", "w.bin"), entry("offset", "2"), entry("length", "4")]);
        assert_eq!(good.expect("it is there").to_i64s(), [3, 4, 5, 6]);
        let at = entry("location", "w.bin");
        for bad in [
            vec![],
            vec![entry("location", "../w.bin")],
            vec![at.clone(), at.clone()],
            vec![at.clone(), entry("offset", "-1")],
            vec![at.clone(), entry("offset", "18446744073709551612")],
            vec![at.clone(), entry("offset", "6")],
            vec![at.clone(), entry("length", "3")],
        ] {
            assert_eq!(go(&bad).map_err(|f| f.kind), Err(ir::Kind::File), "{bad:?}");
        }
    }

    #[test]
    fn sparse_tensors_become_dense() {
        let values = raw(&[2], data_type::UINT8, &[7, 9]);
        let indices = |list: &[i64]| proto::Tensor {
            dims: vec![list.len() as i64],
            data_type: Some(data_type::INT64),
            int64_data: list.to_vec(),
            ..proto::Tensor::default()
        };
        let go = |list: &[i64]| {
            let sparse = proto::SparseTensor { values: Some(values.clone()), indices: Some(indices(list)), dims: vec![2, 2] };
            read_sparse(&sparse, &NoFiles, &Limits::default())
        };
        assert_eq!(go(&[1, 2]).expect("in order").to_i64s(), [0, 7, 9, 0]);
        for bad in [&[2, 1][..], &[1, 4], &[-1, 2], &[0, 1, 2], &[1, 1]] {
            assert!(go(bad).is_err(), "{bad:?}");
        }
    }
}
