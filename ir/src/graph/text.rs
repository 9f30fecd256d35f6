//! `.gir`: a graph as text that parses back.

use crate::tensor::{Tensor, Type};
use crate::text::{Lexer, ParseError};

/// `f32[2] 0000803f00000040`: the type and the dense bytes; `splat` in front of one element that repeats.
pub fn print_tensor(tensor: &Tensor) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    if tensor.is_splat() && tensor.elements() > 1 {
        let one = tensor.slice(&vec![0; tensor.shape().len()], &vec![1; tensor.shape().len()], &vec![1; tensor.shape().len()]);
        return format!("{} splat {}", tensor.ty(), hex(&one.bytes()));
    }
    format!("{} {}", tensor.ty(), hex(&tensor.bytes()))
}

pub fn parse_tensor(lexer: &mut Lexer) -> Result<Tensor, ParseError> {
    use super::attr::Attr;
    let ty = Type::parse(lexer)?;
    let Some(shape) = ty.fixed() else { return Err(lexer.error("a constant's shape is fixed")) };
    let splat = lexer.eat("splat");
    let elements = if splat { 1 } else { shape.iter().product::<usize>() };
    let bytes = lexer.hex_bytes(elements * ty.dtype.bytes())?;
    Ok(if splat { Tensor::splat(ty.dtype, &shape, &bytes) } else { Tensor::dense(ty.dtype, &shape, bytes) })
}
