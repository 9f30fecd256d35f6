//! Signals: windows, Fourier transforms as products with constant waves, and the matrix of mel filters.

use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault, Tensor};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one, zero};

/// Elements that a constant made here may have.
const LARGEST: usize = 1 << 24;

/// A window function over `a`, the position, and `b`, the period.
fn window(cx: &mut Cx, text: &str) -> Made {
    let Some(size) = cx.int_input(0)? else { return Err(Fault::invalid("it has no size")) };
    if !(0..1 << 31).contains(&size) {
        return Err(Fault::invalid(format!("the size is {size}")));
    }
    let to = crate::tensors::dtype(i32::try_from(cx.attrs.int_or("output_datatype", 1)?).unwrap_or(0))?;
    let period = if cx.attrs.flag("periodic", true)? { size } else { size - 1 };
    let places = cx.iota(&Dim::from(size), 0, 1)?;
    let places = cx.cast(&places, Dtype::F64)?;
    let period = cx.scalar(ir::scalar::Literal::f64(period as f64));
    let made = cx.pointwise(text, Dtype::F64, &[&places, &period])?;
    Ok(vec![cx.cast(&made, to)?])
}

pub fn hann(cx: &mut Cx) -> Made {
    window(cx, "{ t0 = mul(a, 3.141592653589793:T); t1 = div(t0, b); t2 = sin(t1); mul(t2, t2) }")
}

pub fn hamming(cx: &mut Cx) -> Made {
    let text = "{ t0 = mul(a, 6.283185307179586:T); t1 = div(t0, b); t2 = cos(t1); \
                t3 = mul(t2, 0.45652173913043476:T); sub(0.5434782608695652:T, t3) }";
    window(cx, text)
}

pub fn blackman(cx: &mut Cx) -> Made {
    let text = "{ t0 = mul(a, 6.283185307179586:T); t1 = div(t0, b); t2 = cos(t1); t3 = mul(t2, -0.5:T); \
                t4 = mul(a, 12.566370614359172:T); t5 = div(t4, b); t6 = cos(t5); t7 = mul(t6, 0.08:T); t8 = add(t3, t7); add(t8, 0.42:T) }";
    window(cx, text)
}

/// What a transform does.
struct Transform {
    length: usize,
    inverse: bool,
    onesided: bool,
}

/// `weight(row, column) * cos` and `sin` of their angle, as two matrices.
fn waves(cx: &mut Cx, dtype: Dtype, shape: [usize; 2], length: usize, weight: &dyn Fn(usize) -> f64) -> Result<[Value; 2], Fault> {
    const LARGEST: usize = 1 << 22;
    if shape[0].saturating_mul(shape[1]) > LARGEST {
        return Err(Fault::unsupported(format!("transforms of {length} samples are not supported")));
    }
    cx.room(2 * shape[0] * shape[1], dtype)?;
    let turn = 2.0 * std::f64::consts::PI / length as f64;
    let mut lists = [Vec::new(), Vec::new()];
    for row in 0..shape[0] {
        for column in 0..shape[1] {
            let angle = (row as u64 * column as u64 % length as u64) as f64 * turn;
            for (list, value) in lists.iter_mut().zip([angle.cos(), angle.sin()]) {
                list.extend(ir::scalar::Literal::number(dtype, value * weight(row)).to_bytes());
            }
        }
    }
    Ok(lists.map(|list| cx.constant(Tensor::dense(dtype, &shape, list))))
}

/// Pairs (real, imaginary) along the last axis of `x` transformed along `at`; a last axis of one is real.
fn transform(cx: &mut Cx, x: &Value, at: usize, how: &Transform) -> Result<Value, Fault> {
    let last = x.rank() - 1;
    let dtype = x.dtype();
    must_be(dtype.is_float() && matches!(x.size(last)?, 1 | 2), "the last axis holds real numbers or pairs", x)?;
    must_be(at < last, "it is transformed along another axis than the last", x)?;
    let wide = if dtype.bytes() < 4 { Dtype::F32 } else { dtype };
    let x = cx.cast(x, wide)?;
    // `[.., samples, pair]`
    let mut order: Vec<usize> = (0..last).filter(|&i| i != at).collect();
    order.extend([at, last]);
    let x = cx.transpose(&x, &order)?;
    let spectrum = how.inverse && how.onesided;
    let taken = if spectrum { how.length / 2 + 1 } else { how.length };
    let have = x.size(last - 1)?;
    let x = if have >= taken {
        cx.part(&x, last - 1, zero(), Dim::from(taken))?
    } else {
        let mut high = vec![zero(); x.rank()];
        high[last - 1] = Dim::from(taken - have);
        let fill = ir::scalar::Literal::number(wide, 0.0);
        cx.pad(&x, vec![zero(); x.rank()], high, ir::graph::op::PadMode::Constant, fill)?
    };
    let length = how.length;
    let shown = if how.onesided && !how.inverse { length / 2 + 1 } else { length };
    let weight = |row: usize| match (how.inverse, spectrum) {
        (false, _) => 1.0,
        (true, false) => 1.0 / length as f64,
        // the other half of the spectrum is this one's mirror image
        (true, true) if row == 0 || 2 * row == length => 1.0 / length as f64,
        (true, true) => 2.0 / length as f64,
    };
    let [cos, sin] = waves(cx, wide, [taken, shown], length, &weight)?;
    let lines = x.shape()[..last].to_vec();
    let side = |cx: &mut Cx, i: i64| {
        let part = cx.part(&x, last, Dim::from(i), one())?;
        cx.reshape(&part, lines.clone())
    };
    let real = side(cx, 0)?;
    let imaginary = if x.size(last)? == 2 { Some(side(cx, 1)?) } else { None };
    let row = real.rank() == 1;
    let dot = |cx: &mut Cx, a: &Value, b: &Value| crate::ops::linear::product(cx, a, b);
    debug_assert!(!row || last == 1);
    let (mut re, mut im) = (dot(cx, &real, &cos)?, dot(cx, &real, &sin)?);
    if let Some(imaginary) = &imaginary {
        let (of_sin, of_cos) = (dot(cx, imaginary, &sin)?, dot(cx, imaginary, &cos)?);
        let (first, second) = if how.inverse { (ScalarOp::Sub, ScalarOp::Add) } else { (ScalarOp::Add, ScalarOp::Sub) };
        re = cx.apply(first, &[&re, &of_sin])?;
        im = if how.inverse { cx.apply(second, &[&im, &of_cos])? } else { cx.apply(ScalarOp::Sub, &[&of_cos, &im])? };
    } else if !how.inverse {
        im = cx.apply(ScalarOp::Neg, &[&im])?;
    }
    let column = [re.shape(), &[one()]].concat();
    let re = cx.reshape(&re, column.clone())?;
    let made = if spectrum {
        re
    } else {
        let im = cx.reshape(&im, column)?;
        cx.concat(&[&re, &im], last)?
    };
    let mut back: Vec<usize> = (0..last - 1).collect();
    back.insert(at, last - 1);
    back.push(last);
    let made = cx.transpose(&made, &back)?;
    cx.cast(&made, dtype)
}

/// Up to opset 19 the axis is an attribute.
pub fn dft(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() >= 2, "it takes samples and pairs", &x)?;
    let (inverse, onesided) = (cx.attrs.flag("inverse", false)?, cx.attrs.flag("onesided", false)?);
    let at = match cx.version {
        ..20 => cx.attrs.int_or("axis", 1)?,
        20.. => cx.int_input(2)?.unwrap_or(-2),
    };
    let at = axis(at, x.rank())?;
    let have = x.size(at)?;
    let usual = if inverse && onesided { 2 * have.saturating_sub(1) } else { have };
    let length = cx.int_input(1)?.unwrap_or(usual as i64);
    if !(1..1 << 31).contains(&length) {
        return Err(Fault::invalid(format!("the length of the transform is {length}")));
    }
    Ok(vec![transform(cx, &x, at, &Transform { length: length as usize, inverse, onesided })?])
}

pub fn stft(cx: &mut Cx) -> Made {
    let signal = cx.input(0)?;
    let Some(step) = cx.int_input(1)? else { return Err(Fault::invalid("it has no step")) };
    let (shape, length) = (cx.optional(2), cx.int_input(3)?);
    let onesided = cx.attrs.flag("onesided", true)?;
    let signal = if signal.rank() == 2 { cx.reshape(&signal, [signal.shape(), &[one()]].concat())? } else { signal };
    must_be(signal.rank() == 3, "a signal is [batch, samples, 1 or 2]", &signal)?;
    let samples = signal.size(1)?;
    let length = match (length, &shape) {
        (Some(length), _) => usize::try_from(length).unwrap_or(0),
        (None, Some(window)) => window.size(0)?,
        (None, None) => return Err(Fault::invalid("it has neither a window nor a length")),
    };
    if length == 0 || length > samples || !(1..1 << 31).contains(&step) {
        return Err(Fault::invalid(format!("{samples} samples have no frames of {length} in steps of {step}")));
    }
    let frames = (samples - length) / step as usize + 1;
    if frames.saturating_mul(length) > LARGEST {
        return Err(Fault::limit(format!("{frames} frames of {length} samples are too many")));
    }
    cx.room(frames * length, Dtype::I64)?;
    let places: Vec<i64> = (0..frames).flat_map(|f| (0..length).map(move |i| (f * step as usize + i) as i64)).collect();
    let places = cx.constant(Tensor::i64s(&[frames, length], &places));
    let mut made = cx.gather(&signal, &places, 1)?;
    if let Some(window) = shape {
        must_be(window.rank() == 1 && window.shape()[0] == Dim::from(length), &format!("the window has {length} samples"), &window)?;
        let window = cx.reshape(&window, vec![Dim::from(length), one()])?;
        made = cx.apply(ScalarOp::Mul, &[&made, &window])?;
    }
    Ok(vec![transform(cx, &made, 2, &Transform { length, inverse: false, onesided })?])
}

/// A matrix from the bins of a spectrum to mel bins, whose sizes are known. What else is known only when the model runs is
/// computed then, in f64.
pub fn mel_weights(cx: &mut Cx) -> Made {
    let mut given = [None; 5];
    for (i, number) in given.iter_mut().enumerate() {
        let value = cx.input(i)?;
        if i < 2 || cx.known(&value).is_some() {
            *number = cx.number_input(i)?;
        }
    }
    let to = crate::tensors::dtype(i32::try_from(cx.attrs.int_or("output_datatype", 1)?).unwrap_or(0))?;
    let [mels, length, ..] = given;
    let (mels, length) = (mels.unwrap_or(0.0), length.unwrap_or(0.0));
    if !(1.0..1e6).contains(&mels) || !(1.0..1e6).contains(&length) {
        return Err(Fault::invalid(format!("{mels} mel bins of {length} samples do not exist")));
    }
    let (mels, bins) = (mels as usize, length as usize / 2 + 1);
    if mels * bins > LARGEST {
        return Err(Fault::limit(format!("the matrix has {bins} x {mels} elements")));
    }
    match given {
        [_, _, Some(rate), Some(lower), Some(upper)] => mel_table(cx, [mels, bins], [length, rate, lower, upper], to),
        _ => mel_formula(cx, [mels, bins], length, to),
    }
}

/// Edges of mel bins as numbers of bins of the spectrum, and from them a rise and a fall for each.
fn mel_formula(cx: &mut Cx, [mels, bins]: [usize; 2], length: f64, to: Dtype) -> Made {
    let mut numbers = Vec::with_capacity(3);
    for i in 2..5 {
        let value = cx.input(i)?;
        must_be(value.ty.elements() == Some(1), "it is one number", &value)?;
        let value = cx.cast(&value, Dtype::F64)?;
        numbers.push(cx.reshape(&value, Vec::new())?);
    }
    let edge = |cx: &mut Cx, first: usize| {
        let places = cx.iota(&Dim::from(mels), 1, 2)?;
        // 2595 / ln(10); 700 Hz; the place of edge `e`
        let text = format!(
            "{{ t0 = cast.f64(a); t1 = add(t0, {first}.0:T); t2 = div(c, 700.0:T); t3 = add(t2, 1.0:T); t4 = log(t3); t5 = div(d, 700.0:T); \
             t6 = add(t5, 1.0:T); t7 = log(t6); t8 = sub(t7, t4); t9 = div(t8, {count}.0:T); t10 = mul(t1, t9); t11 = add(t10, t4); t12 = exp(t11); \
             t13 = sub(t12, 1.0:T); t14 = mul(t13, 700.0:T); t15 = mul(t14, {samples}:T); t16 = div(t15, b); t17 = floor(t16); \
             t18 = max(t17, 0.0:T); min(t18, {bins}.0:T) }}",
            count = mels + 2,
            samples = crate::build::number(length.floor() + 1.0),
        );
        cx.pointwise(&text, Dtype::F64, &[&places, &numbers[0], &numbers[1], &numbers[2]])
    };
    let (left, center, right) = (edge(cx, 0)?, edge(cx, 1)?, edge(cx, 2)?);
    let rows = cx.iota(&Dim::from(bins), 0, 2)?;
    let text = "{ t0 = cast.f64(a); t1 = sub(t0, b); t2 = sub(c, b); t3 = div(t1, t2); t4 = ge(t0, b); t5 = le(t0, c); t6 = and(t4, t5); \
                t7 = gt(c, b); t8 = and(t6, t7); t9 = select(t8, t3, 0.0:T); t10 = eq(t0, c); t11 = eq(b, c); t12 = and(t10, t11); \
                t13 = select(t12, 1.0:T, t9); t14 = sub(d, t0); t15 = sub(d, c); t16 = div(t14, t15); t17 = ge(t0, c); t18 = lt(t0, d); \
                t19 = and(t17, t18); select(t19, t16, t13) }";
    let made = cx.pointwise(text, Dtype::F64, &[&rows, &left, &center, &right])?;
    Ok(vec![cx.cast(&made, to)?])
}

fn mel_table(cx: &mut Cx, [mels, bins]: [usize; 2], [length, rate, lower, upper]: [f64; 4], to: Dtype) -> Made {
    if !(rate >= 1.0 && (0.0..upper).contains(&lower) && upper.is_finite()) {
        return Err(Fault::invalid(format!("{mels} mel bins of {length} samples from {lower} to {upper} Hz at {rate} Hz do not exist")));
    }
    cx.room(mels * bins, Dtype::F64)?;
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let step = (mel(upper) - mel(lower)) / (mels + 2) as f64;
    let edge = |i: usize| {
        let hertz = 700.0 * (10f64.powf((i as f64 * step + mel(lower)) / 2595.0) - 1.0);
        (((length.floor() + 1.0) * hertz / rate).floor() as usize).min(bins)
    };
    let mut table = vec![0.0; bins * mels];
    for i in 0..mels {
        let (left, center, right) = (edge(i), edge(i + 1), edge(i + 2));
        if left == center && center < bins {
            table[center * mels + i] = 1.0;
        }
        for j in (left..=center).take_while(|&j| j < bins && center > left) {
            table[j * mels + i] = (j - left) as f64 / (center - left) as f64;
        }
        for j in (center..right).take_while(|&j| j < bins) {
            table[j * mels + i] = (right - j) as f64 / (right - center) as f64;
        }
    }
    let bytes: Vec<u8> = table.into_iter().flat_map(|v| ir::scalar::Literal::number(to, v).to_bytes()).collect();
    Ok(vec![cx.constant(Tensor::dense(to, &[bins, mels], bytes))])
}
