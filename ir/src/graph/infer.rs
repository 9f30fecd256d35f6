//! The type of an operator's result, from the types of its operands: the one place that knows every
//! operator's rule for shapes. What does not fit is a fault that says what was wanted and what was there.

use super::op::{Op, ReduceKind, ResizeMode, WindowKind};
use crate::dim::{self, Dim};
use crate::fault::Fault;
use crate::scalar::Body;
use crate::tensor::{Dtype, Type};

fn wrong(op: &Op, types: &[&Type], what: &str) -> Fault {
    let got: Vec<String> = types.iter().map(|t| t.to_string()).collect();
    Fault::invalid(format!("{what}; the operands are {}", if got.is_empty() { "none".into() } else { got.join(", ") })).op(op.mnemonic())
}

/// Broadcast of two shapes by numpy's rules, or the axis (from the end) that does not fit.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, usize> {
    let rank = a.len().max(b.len());
    let one = Dim::from(1i64);
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        let at = |s: &[Dim]| (i + s.len()).checked_sub(rank).map(|k| s[k].clone()).unwrap_or_else(|| one.clone());
        let (x, y) = (at(a), at(b));
        out.push(if x == y || y == one {
            x
        } else if x == one {
            y
        } else {
            return Err(rank - i);
        });
    }
    Ok(out)
}

/// The type of a sum of products: that of the factors, but i32 for u8 and i8 in any mix, and for i16. `None`: those two
/// are not multiplied.
pub fn sum_type(a: Dtype, b: Dtype) -> Option<Dtype> {
    let byte = |d: Dtype| matches!(d, Dtype::U8 | Dtype::I8);
    let narrow = (byte(a) && byte(b)) || (a, b) == (Dtype::I16, Dtype::I16);
    if narrow { Some(Dtype::I32) } else { (a == b).then_some(a) }
}

/// The type of what a window gives its epilogue: that of its operand, but i32 for sums of u8 and i8.
pub fn window_type(kind: WindowKind, x: Dtype) -> Dtype {
    if kind == WindowKind::Sum && matches!(x, Dtype::U8 | Dtype::I8) { Dtype::I32 } else { x }
}

/// The type of an operator's own result, before its epilogue. `None`: it has no epilogue.
pub fn own_type(op: &Op, types: &[Dtype]) -> Option<Dtype> {
    match op {
        Op::Dot { .. } | Op::Conv { .. } => sum_type(types[0], types[1]),
        Op::Window { kind, .. } => Some(window_type(*kind, types[0])),
        Op::Reduce { prologue, .. } | Op::Softmax { prologue, .. } | Op::Norm { prologue, .. } => prologue.result_type(&types[..1]).ok(),
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Expand { .. }
        | Op::Gather { .. }
        | Op::Map { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Scatter { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Attention { .. }
        | Op::Resize { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. } => None,
    }
}

/// The result type of `op`. Fault: kind `invalid`, naming the operator.
pub fn infer(op: &Op, types: &[&Type]) -> Result<Type, Fault> {
    let fail = |what: &str| Err(wrong(op, types, what));
    let (low, high) = op.arity();
    if types.len() < low || high.is_some_and(|h| types.len() > h) {
        return fail(&format!("{} takes {low}{} operands", op.mnemonic(), if high.is_none() { " or more" } else { "" }));
    }
    let rank = types.first().map_or(0, |t| t.rank());
    let same_rank =
        |n: usize, what: &str| if n == rank { Ok(()) } else { Err(wrong(op, types, &format!("{what} has {n} axes, the operand {rank}"))) };
    let in_rank = |axis: usize| if axis < rank { Ok(()) } else { Err(wrong(op, types, &format!("there is no axis {axis}"))) };
    match op {
        Op::Input { ty, .. } => Ok(ty.clone()),
        Op::Const { tensor } => Ok(tensor.ty()),
        Op::Reshape { shape } => {
            if dim::product(shape) != dim::product(&types[0].shape) {
                return fail(&format!("{} has another number of elements", Type::new(types[0].dtype, shape.clone())));
            }
            Ok(Type::new(types[0].dtype, shape.clone()))
        }
        Op::Transpose { perm } => {
            same_rank(perm.len(), "the permutation")?;
            let mut sorted = perm.clone();
            sorted.sort();
            if sorted.iter().enumerate().any(|(i, &p)| i != p) {
                return fail(&format!("{perm:?} is not a permutation"));
            }
            Ok(Type::new(types[0].dtype, perm.iter().map(|&p| types[0].shape[p].clone()).collect()))
        }
        Op::Slice { start, step, size } => {
            same_rank(start.len(), "start")?;
            same_rank(step.len(), "step")?;
            same_rank(size.len(), "size")?;
            for axis in 0..rank {
                if step[axis] == 0 {
                    return fail(&format!("the step of axis {axis} is 0"));
                }
                if let (Some(s), Some(n), Some(whole)) = (start[axis].fixed(), size[axis].fixed(), types[0].shape[axis].fixed()) {
                    let last = n.checked_sub(1).and_then(|k| k.checked_mul(step[axis])).and_then(|d| d.checked_add(s));
                    let fits = |i: i64| (0..whole).contains(&i);
                    if n < 0 || (n > 0 && !(fits(s) && last.is_some_and(fits))) {
                        return fail(&format!("the slice leaves axis {axis}"));
                    }
                }
            }
            Ok(Type::new(types[0].dtype, size.clone()))
        }
        Op::Pad { low, high, value, .. } => {
            same_rank(low.len(), "low")?;
            same_rank(high.len(), "high")?;
            if value.dtype != types[0].dtype {
                return fail("the fill has another type");
            }
            if low.iter().chain(high).any(|d| d.fixed().is_some_and(|v| v < 0)) {
                return fail("a pad is negative");
            }
            let shape = (0..rank).map(|i| types[0].shape[i].clone() + low[i].clone() + high[i].clone());
            Ok(Type::new(types[0].dtype, shape.collect()))
        }
        Op::Concat { axis } => {
            in_rank(*axis)?;
            let mut shape = types[0].shape.clone();
            for t in &types[1..] {
                let fits = t.rank() == rank && t.dtype == types[0].dtype && (0..rank).all(|i| i == *axis || t.shape[i] == shape[i]);
                if !fits {
                    return fail(&format!("the operands differ in more than axis {axis}"));
                }
                shape[*axis] = shape[*axis].clone() + t.shape[*axis].clone();
            }
            Ok(Type::new(types[0].dtype, shape))
        }
        Op::Expand { shape } => match broadcast(&types[0].shape, shape) {
            Ok(result) if result == *shape => Ok(Type::new(types[0].dtype, result)),
            _ => fail(&format!("it cannot be repeated to {}", Type::new(types[0].dtype, shape.clone()))),
        },
        Op::Gather { axis } => {
            in_rank(*axis)?;
            if !matches!(types[1].dtype, Dtype::I32 | Dtype::I64) {
                return fail("indices are i32 or i64");
            }
            let shape = [&types[0].shape[..*axis], &types[1].shape, &types[0].shape[*axis + 1..]].concat();
            Ok(Type::new(types[0].dtype, shape))
        }
        Op::Map { body } => {
            let mut shape = types[0].shape.clone();
            for t in &types[1..] {
                shape = broadcast(&shape, &t.shape).map_err(|_| wrong(op, types, "the shapes do not broadcast"))?;
            }
            let dtypes: Vec<Dtype> = types.iter().map(|t| t.dtype).collect();
            let dtype = body.result_type(&dtypes).map_err(|what| wrong(op, types, &what))?;
            Ok(Type::new(dtype, shape))
        }
        Op::Dot { trans_a, trans_b, epilogue } => {
            let (a, b) = (types[0], types[1]);
            if a.rank() < 2 || b.rank() < 2 {
                return fail("dot takes matrices");
            }
            let Some(sum) = sum_type(a.dtype, b.dtype) else { return fail("the factors have two types") };
            let matrix = |t: &Type, swapped: bool| {
                let (x, y) = (t.shape[t.rank() - 2].clone(), t.shape[t.rank() - 1].clone());
                if swapped { (y, x) } else { (x, y) }
            };
            let ((m, k), (k2, n)) = (matrix(a, *trans_a), matrix(b, *trans_b));
            if k != k2 {
                return fail(&format!("the inner extents {k} and {k2} differ"));
            }
            let mut shape = broadcast(&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2])
                .map_err(|_| wrong(op, types, "the leading axes do not broadcast"))?;
            shape.extend([m, n]);
            with_epilogue(op, types, epilogue, Type::new(sum, shape))
        }
        Op::Conv { stride, dilation, inflate, low, high, group, fill, epilogue } => {
            let (x, w) = (types[0], types[1]);
            if rank < 3 || w.rank() != rank {
                return fail("conv takes [n, spatial.., c] and [kernel.., c / group, m]");
            }
            let spatial = rank - 2;
            if [stride.len(), dilation.len(), inflate.len(), low.len(), high.len()] != [spatial; 5] {
                return fail(&format!("the attributes are not for {spatial} spatial axes"));
            }
            if *group == 0 || stride.contains(&0) || dilation.contains(&0) || inflate.contains(&0) {
                return fail("group, stride, dilation and inflate are at least 1");
            }
            let Some(sum) = sum_type(x.dtype, w.dtype) else { return fail("the factors have two types") };
            if fill.dtype != x.dtype {
                return fail("the fill has another type");
            }
            if x.dtype.is_float() && fill.bits != 0 {
                return fail("the padding of floats is 0");
            }
            let g = Dim::from(*group);
            let m = &w.shape[rank - 1];
            if w.shape[rank - 2].clone() * g.clone() != x.shape[rank - 1] || m.fixed().is_some_and(|m| m % *group as i64 != 0) {
                return fail(&format!("the channels do not fit {group} groups"));
            }
            let mut shape = vec![x.shape[0].clone()];
            for i in 0..spatial {
                let Some(size) = w.shape[i].fixed() else { return fail("the kernel has a symbolic size") };
                let inflated = (x.shape[i + 1].clone() - Dim::from(1i64)) * Dim::from(inflate[i]) + Dim::from(1i64);
                shape.push(match windows(inflated, size, stride[i], dilation[i], low[i], high[i]) {
                    Some(d) => d,
                    None => return fail(&format!("the kernel is larger than spatial axis {i} with its padding")),
                });
            }
            shape.push(m.clone());
            with_epilogue(op, types, epilogue, Type::new(sum, shape))
        }
        Op::Window { kind, size, stride, dilation, low, high, epilogue } => {
            if rank < 3 || [size.len(), stride.len(), dilation.len(), low.len(), high.len()] != [rank - 2; 5] {
                return fail("window takes [n, spatial.., c] and attributes for each spatial axis");
            }
            if stride.contains(&0) || dilation.contains(&0) || size.contains(&0) {
                return fail("size, stride and dilation are at least 1");
            }
            let mut shape = vec![types[0].shape[0].clone()];
            for i in 0..rank - 2 {
                shape.push(match windows(types[0].shape[i + 1].clone(), size[i] as i64, stride[i], dilation[i], low[i], high[i]) {
                    Some(d) => d,
                    None => return fail(&format!("the window is larger than spatial axis {i} with its padding")),
                });
            }
            shape.push(types[0].shape[rank - 1].clone());
            with_epilogue(op, types, epilogue, Type::new(window_type(*kind, types[0].dtype), shape))
        }
        Op::Reduce { kind, axes, prologue, epilogue } => {
            let dtype = prologue.result_type(&[types[0].dtype]).map_err(|what| wrong(op, types, &what))?;
            if *kind == ReduceKind::Mean && dtype == Dtype::Bool {
                return fail("bool has no mean");
            }
            with_epilogue(op, types, epilogue, Type::new(dtype, reduced(op, types, axes)?))
        }
        Op::ArgReduce { axis, .. } => Ok(Type::new(Dtype::I64, reduced(op, types, &[*axis])?)),
        Op::Cumulate { axis, .. } => {
            in_rank(*axis)?;
            Ok(types[0].clone())
        }
        Op::Sort { axis, .. } => {
            in_rank(*axis)?;
            Ok(Type::new(Dtype::I64, types[0].shape.clone()))
        }
        Op::Scatter { .. } => {
            let (data, indices, updates) = (types[0], types[1], types[2]);
            in_rank(0)?;
            if !matches!(indices.dtype, Dtype::I32 | Dtype::I64) || indices.rank() != 1 {
                return fail("indices are a list of i32 or i64");
            }
            let rows = [&indices.shape[..], &data.shape[1..]].concat();
            if updates.dtype != data.dtype || updates.shape != rows {
                return fail(&format!("the updates are to be {}", Type::new(data.dtype, rows)));
            }
            Ok(data.clone())
        }
        Op::Compact { length } => {
            in_rank(0)?;
            if types[1].dtype != Dtype::Bool || types[1].shape != types[0].shape[..1] {
                return fail("it takes a bool for each row");
            }
            let one_symbol = length.fixed().is_some() || length.as_symbol().is_some();
            if !one_symbol {
                return fail(&format!("{length} is no symbol"));
            }
            Ok(Type::new(types[0].dtype, [std::slice::from_ref(length), &types[0].shape[1..]].concat()))
        }
        Op::Suppress { most, .. } => {
            let (boxes, scores, order) = (types[0], types[1], types[2]);
            let limits = *types[3] == Type::of(Dtype::F32, &[2]);
            let f32s = limits && boxes.dtype == Dtype::F32 && scores.dtype == Dtype::F32 && order.dtype == Dtype::I64;
            let fits = boxes.rank() == 3 && scores.rank() == 3 && boxes.shape[2] == Dim::from(4i64);
            if !f32s || !fits || order.shape != scores.shape || boxes.shape[..2] != [scores.shape[0].clone(), scores.shape[2].clone()] {
                return fail("it takes boxes [b, n, 4], their scores [b, c, n], an order of them and two limits");
            }
            Ok(Type::new(Dtype::I64, [&scores.shape[..2], &[Dim::from(*most)]].concat()))
        }
        Op::Softmax { axis, prologue, epilogue, .. } => {
            in_rank(*axis)?;
            with_epilogue(op, types, epilogue, Type::new(floats(op, types, prologue)?, types[0].shape.clone()))
        }
        Op::Norm { axes, prologue, epilogue, .. } => {
            reduced(op, types, axes)?;
            with_epilogue(op, types, epilogue, Type::new(floats(op, types, prologue)?, types[0].shape.clone()))
        }
        Op::Attention { prologue, .. } => attention(op, types, prologue),
        Op::Resize { mode, scale, roi, shape, .. } => {
            same_rank(scale.len(), "scale")?;
            same_rank(shape.len(), "shape")?;
            if !roi.is_empty() && roi.len() != 2 * rank {
                return fail("roi holds a start and an end for each axis");
            }
            let nearest = matches!(
                mode,
                ResizeMode::NearestRoundPreferFloor
                    | ResizeMode::NearestRoundPreferCeil
                    | ResizeMode::NearestFloor
                    | ResizeMode::NearestCeil
            );
            if !nearest && !types[0].dtype.is_float() && !types[0].dtype.is_int() {
                return fail("interpolation takes numbers");
            }
            Ok(Type::new(types[0].dtype, shape.clone()))
        }
        Op::Quantize { axis, block } => {
            if !types[0].dtype.is_float() || !crate::quant::is_storage(types[2].dtype) {
                return fail("quantize takes floats, and a zero point of at most 16 bits");
            }
            lined_up(op, types, *axis, *block)?;
            Ok(Type::new(types[2].dtype, types[0].shape.clone()))
        }
        Op::Dequantize { axis, block } => {
            if !types[0].dtype.is_int() || types[0].dtype.bytes() > 4 || types[2].dtype != types[0].dtype {
                return fail("dequantize takes integers of at most 32 bits, and a zero point of their type");
            }
            lined_up(op, types, *axis, *block)?;
            Ok(Type::new(types[1].dtype, types[0].shape.clone()))
        }
        Op::Scan { .. } => {
            let results = super::region::results(op, types).map_err(|what| wrong(op, types, &what))?;
            results.into_iter().next().ok_or_else(|| wrong(op, types, "a scan has at least one result"))
        }
        Op::Take { ty, .. } => Ok(ty.clone()),
    }
}

/// The floats that a prologue makes of operand 0.
fn floats(op: &Op, types: &[&Type], prologue: &Body) -> Result<Dtype, Fault> {
    let dtype = prologue.result_type(&[types[0].dtype]).map_err(|what| wrong(op, types, &what))?;
    if dtype.is_float() { Ok(dtype) } else { Err(wrong(op, types, &format!("{} takes floats", op.mnemonic()))) }
}

/// Scale and zero point of `quantize` and `dequantize`.
fn lined_up(op: &Op, types: &[&Type], axis: usize, block: usize) -> Result<(), Fault> {
    let (x, scale, zero) = (types[0], types[1], types[2]);
    let fail = |what: &str| Err(wrong(op, types, what));
    if !matches!(scale.dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) || zero.shape != scale.shape {
        return fail("the scale is a float of at least 16 bits, and the zero point has its shape");
    }
    if scale.rank() == 0 {
        return Ok(());
    }
    if axis >= x.rank() {
        return fail(&format!("there is no axis {axis}"));
    }
    if block == 0 {
        return if scale.shape == [x.shape[axis].clone()] {
            Ok(())
        } else {
            fail(&format!("there is one scale per position of axis {axis}"))
        };
    }
    let blocks = (x.shape[axis].clone() + Dim::from(block - 1)).floor_div(block as i64);
    let fits =
        scale.rank() == x.rank() && (0..x.rank()).all(|i| scale.shape[i] == if i == axis { blocks.clone() } else { x.shape[i].clone() });
    if fits { Ok(()) } else { fail(&format!("there is one scale per {block} positions of axis {axis}")) }
}

/// The leading axes of an attention, and its scores `[.., s, t]`.
pub fn scores(types: &[&Type]) -> Option<Vec<Dim>> {
    let lead = |t: &Type| t.rank().checked_sub(2).map(|n| t.shape[..n].to_vec());
    let both = broadcast(&lead(types[0])?, &lead(types[1])?).ok()?;
    let mut shape = broadcast(&both, &lead(types[2])?).ok()?;
    shape.extend([types[0].shape[types[0].rank() - 2].clone(), types[1].shape[types[1].rank() - 2].clone()]);
    Some(shape)
}

fn attention(op: &Op, types: &[&Type], prologue: &Body) -> Result<Type, Fault> {
    let fail = |what: &str| Err(wrong(op, types, what));
    let (q, k, v) = (types[0], types[1], types[2]);
    if [q, k, v].iter().any(|t| t.dtype != Dtype::F32) {
        return fail("queries, keys and values are f32");
    }
    let Some(scores) = scores(types) else { return fail("the leading axes do not broadcast") };
    let last = |t: &Type| t.shape[t.rank() - 1].clone();
    if last(q) != last(k) || k.shape[k.rank() - 2] != v.shape[v.rank() - 2] {
        return fail("queries and keys, or keys and values, do not fit each other");
    }
    for t in &types[3..] {
        if broadcast(&scores, &t.shape).as_ref() != Ok(&scores) {
            return fail(&format!("{t} does not broadcast to the scores"));
        }
    }
    let dtypes: Vec<Dtype> = std::iter::once(Dtype::F32).chain(types[3..].iter().map(|t| t.dtype)).collect();
    match prologue.result_type(&dtypes) {
        Ok(Dtype::F32) => {}
        Ok(_) => return fail("the scores are f32"),
        Err(what) => return fail(&what),
    }
    let mut shape = scores;
    shape.pop();
    shape.push(last(v));
    Ok(Type::new(Dtype::F32, shape))
}

/// Result extent of a window of `size` over `extent`; `None` when it does not fit once.
fn windows(extent: Dim, size: i64, stride: usize, dilation: usize, low: i64, high: i64) -> Option<Dim> {
    let span = i64::try_from(dilation).ok()?.checked_mul(size.checked_sub(1)?)?.checked_add(1)?;
    let room = extent + Dim::from(low.checked_add(high)?.checked_sub(span)?);
    match room.fixed() {
        Some(r) if r < 0 => None,
        _ => Some(room.floor_div(stride as i64) + Dim::from(1i64)),
    }
}

fn reduced(op: &Op, types: &[&Type], axes: &[usize]) -> Result<Vec<Dim>, Fault> {
    let mut shape = types[0].shape.clone();
    for (i, &axis) in axes.iter().enumerate() {
        if axis >= shape.len() {
            return Err(wrong(op, types, &format!("there is no axis {axis}")));
        }
        if axes[..i].contains(&axis) {
            return Err(wrong(op, types, &format!("axis {axis} stands twice")));
        }
        shape[axis] = Dim::from(1i64);
    }
    Ok(shape)
}

/// The epilogue's result type; its operands must broadcast to the operator's result.
fn with_epilogue(op: &Op, types: &[&Type], epilogue: &Body, result: Type) -> Result<Type, Fault> {
    let extra = &types[op.own_operands()..];
    for t in extra {
        if broadcast(&result.shape, &t.shape).as_ref() != Ok(&result.shape) {
            return Err(wrong(op, types, &format!("{t} does not broadcast to the result {result}")));
        }
    }
    let dtypes: Vec<Dtype> = std::iter::once(result.dtype).chain(extra.iter().map(|t| t.dtype)).collect();
    let dtype = epilogue.result_type(&dtypes).map_err(|what| wrong(op, types, &what))?;
    Ok(Type::new(dtype, result.shape))
}
