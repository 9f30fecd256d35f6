//! One array of numpy's `.npy` format, read and written. Types that numpy lacks travel as bits: bfloat16 as `u2`, float8
//! and float4 as `u1`, 4- and 2-bit integers as `i1` and `u1`, one element per byte. A header is believed only as far as
//! the bytes behind it bear it out. Nothing here knows files or models.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use ir::{Dtype, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes of a header at most; numpy's own fit in a hundred.
const HEADER: usize = 1 << 16;
const RANK: usize = 64;

/// numpy's description of an element, such as `<f4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descr {
    pub big_endian: bool,
    /// `b i u f c V …`
    pub kind: char,
    /// Bytes of an element.
    pub size: usize,
}

impl fmt::Display for Descr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match (self.size, self.big_endian) {
            (1, _) => '|',
            (_, true) => '>',
            (_, false) => '<',
        };
        write!(f, "{order}{}{}", self.kind, self.size)
    }
}

impl Descr {
    fn parse(text: &str) -> Result<Descr, String> {
        let wrong = || format!("the element type {text:?} is not supported");
        let mut chars = text.chars();
        let big_endian = match chars.next().ok_or_else(wrong)? {
            '>' => true,
            '<' | '|' | '=' => false,
            _ => return Err(wrong()),
        };
        let kind = chars.next().filter(|k| "biufcV".contains(*k)).ok_or_else(wrong)?;
        let size: usize = chars.as_str().parse().map_err(|_| wrong())?;
        if !(1..=16).contains(&size) {
            return Err(wrong());
        }
        Ok(Descr { big_endian, kind, size })
    }

    /// The element type that it is by itself; bits are unsigned integers.
    pub fn dtype(self) -> Option<Dtype> {
        Dtype::ALL.iter().copied().find(|d| {
            let (kind, size) = descr(*d);
            (kind, size) == (self.kind, self.size)
        })
    }

    /// Whether elements of `dtype` may travel so. `V` is what numpy writes for types of extension packages.
    pub fn carries(self, dtype: Dtype) -> bool {
        let (kind, size) = descr(dtype);
        let extended =
            matches!(dtype, Dtype::BF16 | Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1)
                || dtype.bits() < 8 && dtype.is_int();
        size == self.size && (kind == self.kind || extended && self.kind == 'V')
    }
}

/// What numpy calls an element of this type, or the bits that stand for it. The order of `Dtype::ALL` has numpy's own
/// types before those that travel as bits.
fn descr(dtype: Dtype) -> (char, usize) {
    use Dtype::*;
    match dtype {
        F32 => ('f', 4),
        F64 => ('f', 8),
        F16 => ('f', 2),
        BF16 => ('u', 2),
        I8 | I4 | I2 => ('i', 1),
        I16 => ('i', 2),
        I32 => ('i', 4),
        I64 => ('i', 8),
        U8 | U4 | U2 | F8E4M3 | F8E4M3Z | F8E5M2 | F8E5M2Z | F8E8M0 | F4E2M1 => ('u', 1),
        U16 => ('u', 2),
        U32 => ('u', 4),
        U64 => ('u', 8),
        Bool => ('b', 1),
    }
}

/// What a file says of its array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub descr: Descr,
    pub fortran: bool,
    pub shape: Vec<usize>,
    /// Where the elements start.
    pub start: usize,
    /// How many bytes they take.
    pub bytes: u64,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.descr.dtype() {
            Some(dtype) => f.write_str(dtype.name())?,
            None => write!(f, "{}", self.descr)?,
        }
        write!(f, "{:?}", self.shape)
    }
}

/// Reads the header at the beginning of a file; the first `HEADER` + 12 bytes are enough.
pub fn header(file: &[u8]) -> Result<Header, String> {
    let short = || "it ends within its header".to_string();
    if !file.starts_with(MAGIC) {
        return Err("it is not a .npy file".into());
    }
    let (length, text) = match file.get(6).ok_or_else(short)? {
        1 => {
            let n = file.get(8..10).ok_or_else(short)?;
            (u16::from_le_bytes([n[0], n[1]]) as usize, 10)
        }
        2 | 3 => {
            let n = file.get(8..12).ok_or_else(short)?;
            (u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize, 12)
        }
        other => return Err(format!("version {other} of the .npy format is not supported")),
    };
    if length > HEADER {
        return Err(format!("its header takes {length} bytes; at most {HEADER} are read"));
    }
    let start = text + length;
    let dict = std::str::from_utf8(file.get(text..start).ok_or_else(short)?).map_err(|_| "its header is not text".to_string())?;
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    let mut words = Words { rest: dict };
    words.expect("{")?;
    while !words.eat("}") {
        let key = words.string()?;
        words.expect(":")?;
        match key {
            "descr" => descr = Some(Descr::parse(words.string()?)?),
            "fortran_order" => fortran = Some(words.boolean()?),
            "shape" => shape = Some(words.tuple()?),
            other => return Err(format!("its header has an unknown field {other:?}")),
        }
        if !words.eat(",") {
            words.expect("}")?;
            break;
        }
    }
    let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
        return Err("its header is not complete".into());
    };
    if shape.len() > RANK {
        return Err(format!("it has {} axes; at most {RANK} are read", shape.len()));
    }
    let elements = if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)) };
    let bytes = elements.and_then(|n| n.checked_mul(descr.size as u64)).filter(|&n| n <= isize::MAX as u64);
    let bytes = bytes.ok_or_else(|| format!("its shape {shape:?} is too large"))?;
    Ok(Header { descr, fortran, shape, start, bytes })
}

/// The little of Python's syntax that headers use.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn wrong(&self) -> String {
        let near: String = self.rest.chars().take(20).collect();
        format!("its header cannot be read at {near:?}")
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.wrong()) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.eat("'") { '\'' } else { self.expect("\"").map(|()| '"')? };
        let end = self.rest.find(quote).ok_or_else(|| self.wrong())?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.eat("True") { Ok(true) } else { self.expect("False").map(|()| false) }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut all = Vec::new();
        while !self.eat(")") {
            self.rest = self.rest.trim_start();
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            all.push(digits.parse().map_err(|_| self.wrong())?);
            // Python 2 marked long integers
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(all)
    }
}

/// The elements, exactly `header.bytes` of them as they lie in the file, as a tensor of `dtype`.
/// Fault: a type that cannot carry it, or a value that it does not have.
pub fn tensor(header: &Header, mut data: Bytes, dtype: Dtype) -> Result<Tensor, String> {
    if !header.descr.carries(dtype) {
        let (kind, size) = descr(dtype);
        let wanted = Descr { big_endian: false, kind, size };
        return Err(format!("its elements are {}, and {} travels as {wanted}", header.descr, dtype.name()));
    }
    if data.len() as u64 != header.bytes {
        return Err(format!("it holds {} bytes of elements; {header} needs {}", data.len(), header.bytes));
    }
    if header.descr.big_endian && header.descr.size > 1 {
        let mut swapped = data.to_vec();
        swapped.chunks_exact_mut(header.descr.size).for_each(<[u8]>::reverse);
        data = swapped.into();
    }
    if dtype == Dtype::Bool
        && let Some(odd) = data.iter().find(|&&b| b > 1)
    {
        return Err(format!("a bool is {odd}, and must be 0 or 1"));
    }
    if dtype.bits() < 8
        && let Some((low, high)) = dtype.int_range()
    {
        let value = |b: u8| if low < 0 { i128::from(b as i8) } else { i128::from(b) };
        if let Some(&odd) = data.iter().find(|&&b| !(low..=high).contains(&value(b))) {
            return Err(format!("{} is outside of {low}..{high}, the range of {}", value(odd), dtype.name()));
        }
    }
    if !header.fortran || header.shape.len() < 2 {
        return Ok(Tensor::dense(dtype, &header.shape, data));
    }
    // columns first: the same bytes under the reversed shape, seen backwards
    let reversed: Vec<usize> = header.shape.iter().rev().copied().collect();
    let perm: Vec<usize> = (0..reversed.len()).rev().collect();
    let dense = Tensor::dense(dtype, &reversed, data).permute(&perm).bytes();
    Ok(Tensor::dense(dtype, &header.shape, dense))
}

/// Writes version 1.0: little endian, rows first. `data` is dense.
pub fn write(out: &mut dyn Write, dtype: Dtype, shape: &[usize], data: &[u8]) -> io::Result<()> {
    let (kind, size) = descr(dtype);
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        Descr { big_endian: false, kind, size },
        sizes.join(", ")
    );
    // the elements start at a multiple of 64
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    let length = u16::try_from(text.len()).map_err(|_| io::Error::other("the shape has too many axes"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(text.as_bytes())?;
    out.write_all(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dict: &str, data: &[u8]) -> Vec<u8> {
        let mut all = MAGIC.to_vec();
        all.extend([1, 0]);
        all.extend((dict.len() as u16).to_le_bytes());
        all.extend(dict.as_bytes());
        all.extend(data);
        all
    }

    fn read(file: &[u8], dtype: Dtype) -> Result<Tensor, String> {
        let header = header(file)?;
        tensor(&header, Bytes::copy_from_slice(&file[header.start..]), dtype)
    }

    #[test]
    fn what_is_written_reads_back_in_every_type() {
        for &dtype in Dtype::ALL {
            for shape in [&[][..], &[3], &[2, 0, 4], &[2, 3]] {
                let n = shape.iter().product::<usize>() * dtype.bytes();
                let data: Vec<u8> = (0..n).map(|i| (i % 2) as u8).collect();
                let mut out = Vec::new();
                write(&mut out, dtype, shape, &data).expect("into memory");
                assert_eq!((out.len() - n) % 64, 0);
                let back = read(&out, dtype).expect("our own");
                assert_eq!((back.shape(), back.bytes().as_ref()), (shape, &data[..]), "{dtype:?}");
            }
        }
    }

    #[test]
    fn orders_of_bytes_and_axes_are_undone() {
        let dict = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let tensor = read(&file(dict, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6]), Dtype::I16).expect("well-formed");
        assert_eq!(tensor.to_i64s(), [1, 2, 3, 4, 5, 6]);
        let dict = "{\"shape\": (2L,), 'fortran_order': False, 'descr': '|V2'}";
        assert_eq!(read(&file(dict, &[0x80, 0x3f, 0, 0x40]), Dtype::BF16).expect("well-formed").to_f64s(), [1.0, 2.0]);
    }

    #[test]
    fn hostile_headers_are_refused() {
        let refused = |dict: &str| read(&file(dict, &[0; 8]), Dtype::F32).expect_err(dict);
        let head = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        assert!(refused(&head("(18446744073709551615, 4)")).contains("too large"));
        assert!(refused(&head("(99999999999999999999,)")).contains("cannot be read"));
        assert!(refused(&head("(-1,)")).contains("cannot be read"));
        assert!(refused(&head("(3,)")).contains("needs 12"));
        assert!(refused(&head(&format!("({})", "1,".repeat(65)))).contains("65 axes"));
        assert!(refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}").contains("cannot be read"));
        assert!(refused("{'descr': '|O', 'fortran_order': False, 'shape': ()}").contains("not supported"));
        assert!(refused("{'descr': '<f4', 'shape': ()}").contains("not complete"));
        assert!(refused("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}").contains("travels as <f4"));
        assert!(refused("{'descr': '<f4").contains("cannot be read"));
        let mut long = file("", &[]);
        long[6] = 2;
        long[8..].copy_from_slice(&[0xff; 2]);
        long.extend([0xff, 0xff]);
        assert!(header(&long).expect_err("4 GB of header").contains("at most"));
        assert!(header(b"PK").is_err() && header(MAGIC).is_err());
        let bits = "{'descr': '|i1', 'fortran_order': False, 'shape': (2,)}";
        assert!(read(&file(bits, &[0xf8, 9]), Dtype::I4).expect_err("9 is no i4").contains("-8..7"));
        let bools = "{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}";
        assert!(read(&file(bools, &[2]), Dtype::Bool).expect_err("2 is no bool").contains("0 or 1"));
    }
}
