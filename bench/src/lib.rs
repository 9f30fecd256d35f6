//! Benchmarks that run on demand: nothing here is part of the compiler, and CI does not wait for it.

pub mod machine;

/// The sizes of a product, written `MxNxK`.
pub fn sizes(text: &str) -> Result<(usize, usize, usize), String> {
    let sizes: Vec<usize> =
        text.split('x').map(|part| part.parse().map_err(|_| format!("`{text}` is not MxNxK"))).collect::<Result<_, _>>()?;
    match sizes[..] {
        [m, n, k] if m * n * k > 0 => Ok((m, n, k)),
        _ => Err(format!("`{text}` is not MxNxK")),
    }
}
