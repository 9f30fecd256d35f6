//! How far a graph's outputs may differ between two that compute it rightly. Nothing is assumed about the operators: the
//! graph is taken apart into single operations, every result of which is moved by a few roundings, and what becomes of the
//! outputs is what rounding may do. Where a value is exact nothing moves.

use ir::graph::op::{Op, ReduceKind, ResizeMode, ScatterKind, WindowKind};
use ir::graph::{eval, infer};
use ir::scalar::{Arg, Body, Class, Literal, ScalarOp};
use ir::{Dtype, Graph, NodeId, Tensor, dim};

/// Whether an operation on exact operands gives the same bits everywhere.
pub fn term_is_exact(op: ScalarOp, params: &[Dtype], operands: bool) -> bool {
    let float = params.iter().any(|d| d.is_float());
    match op.class() {
        Class::Compare | Class::Test | Class::Logic | Class::Integer | Class::Select => operands,
        Class::Number => {
            !float || (operands && matches!(op, ScalarOp::Neg | ScalarOp::Abs | ScalarOp::Sign | ScalarOp::Min | ScalarOp::Max))
        }
        Class::Float => operands && matches!(op, ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc | ScalarOp::Round),
        // the sign of a NaN is nobody's
        Class::Convert => operands && !matches!(op, ScalarOp::Bits(to) if to.is_float()),
    }
}

/// Whether a rounding of an operand may change everything.
pub fn discontinuous(op: ScalarOp, params: &[Dtype]) -> bool {
    if !params.iter().any(|d| d.is_float()) {
        return false;
    }
    match op.class() {
        Class::Compare | Class::Test => true,
        Class::Convert => match op {
            ScalarOp::Cast(to) => !rounds(to),
            _ => true,
        },
        Class::Number => matches!(op, ScalarOp::Sign | ScalarOp::Rem | ScalarOp::Mod | ScalarOp::Pow),
        Class::Float => matches!(op, ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc | ScalarOp::Round),
        Class::Integer | Class::Logic | Class::Select => false,
    }
}

/// Floats with bits enough that a rounding is a small thing.
fn rounds(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16)
}

fn body_is_exact(body: &Body, params: &[Dtype], operands: &[bool]) -> bool {
    let types = body.types(params).expect("the body is verified");
    let mut exact: Vec<bool> = Vec::with_capacity(types.len());
    let of = |arg: &Arg, exact: &[bool]| match *arg {
        Arg::Param(i) => (params[i as usize], operands[i as usize]),
        Arg::Term(i) => (types[i as usize], exact[i as usize]),
        Arg::Literal(l) => (l.dtype, true),
    };
    for term in &body.terms {
        let (dtypes, all): (Vec<Dtype>, Vec<bool>) = term.args.iter().map(|a| of(a, &exact)).unzip();
        exact.push(term_is_exact(term.op, &dtypes, all.iter().all(|e| *e)));
    }
    of(&body.result, &exact).1
}

/// Whether a node gives the same bits everywhere, by which of its operands do.
pub fn is_exact(graph: &Graph, id: NodeId, known: &dyn Fn(NodeId) -> bool) -> bool {
    let operands = graph.operands(id);
    let all = operands.iter().all(|&o| known(o));
    let dtypes: Vec<Dtype> = operands.iter().map(|&o| graph.ty(o).dtype).collect();
    let exacts: Vec<bool> = operands.iter().map(|&o| known(o)).collect();
    let op = graph.op(id);
    let own = |exact: bool, epilogue: &Body| {
        let extra = op.own_operands();
        let first = infer::own_type(op, &dtypes).expect("an operator with an epilogue has a type of its own");
        let params: Vec<Dtype> = std::iter::once(first).chain(dtypes[extra..].iter().copied()).collect();
        let given: Vec<bool> = std::iter::once(exact).chain(exacts[extra..].iter().copied()).collect();
        match epilogue.is_identity() {
            true => exact,
            false => body_is_exact(epilogue, &params, &given),
        }
    };
    let float = dtypes.first().is_some_and(|d| d.is_float());
    match op {
        Op::Input { .. } | Op::Const { .. } | Op::ArgReduce { .. } | Op::Sort { .. } => true,
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } | Op::Expand { .. } => all,
        Op::Gather { .. } | Op::Compact { .. } => all,
        Op::Map { body } => body_is_exact(body, &dtypes, &exacts),
        Op::Dot { epilogue, .. } | Op::Conv { epilogue, .. } => own(!float, epilogue),
        Op::Window { kind, epilogue, .. } => own(!float || (*kind == WindowKind::Max && all), epilogue),
        Op::Reduce { kind, prologue, epilogue, .. } => {
            let given = body_is_exact(prologue, &dtypes[..1], &exacts[..1]);
            let whole = prologue.result_type(&dtypes[..1]).is_ok_and(|d| !d.is_float());
            own(given && (whole || matches!(kind, ReduceKind::Max | ReduceKind::Min)), epilogue)
        }
        Op::Cumulate { .. } => !float,
        Op::Scatter { kind } => all && (!float || !matches!(kind, ScatterKind::Sum | ScatterKind::Prod)),
        Op::Softmax { .. } | Op::Norm { .. } | Op::Attention { .. } | Op::Suppress { .. } => false,
        Op::Quantize { .. } | Op::Dequantize { .. } => all,
        // only what takes its results may use a scan
        Op::Scan { .. } => true,
        Op::Take { .. } => false,
        Op::Resize { mode, .. } => all && *mode != ResizeMode::Linear && !matches!(mode, ResizeMode::Cubic50 | ResizeMode::Cubic75),
    }
}

/// What the outputs are and how far off they may be.
pub struct Doubt {
    pub wanted: Vec<Tensor>,
    /// Per output and element; infinite where rounding decides everything.
    pub room: Vec<Vec<f64>>,
}

impl Doubt {
    /// Fault: the status that a compiled model must give.
    pub fn new(graph: &Graph, inputs: &[Tensor]) -> Result<Doubt, u8> {
        let wanted = eval::eval(graph, inputs).map_err(|_| 4)?;
        let base: Vec<Vec<f64>> = wanted.iter().map(Tensor::to_f64s).collect();
        let mut room: Vec<Vec<f64>> = wanted
            .iter()
            .zip(&base)
            .map(|(tensor, values)| {
                let scale = values.iter().copied().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
                let near = if rounds(tensor.dtype()) { 8.0 * unit(tensor.dtype()) } else { 0.0 };
                // what is denormal may be flushed by nobody, yet sums of such are rounded coarsely
                let least = if rounds(tensor.dtype()) { 1e-36 } else { 0.0 };
                values.iter().map(|v| near * (v.abs() + scale / 16.0) + least).collect()
            })
            .collect();
        for seed in 0..4 {
            let moved = eval::eval(&moved(graph, seed), inputs).map_err(|_| 4)?;
            for ((room, base), moved) in room.iter_mut().zip(&base).zip(&moved) {
                for ((room, &base), moved) in room.iter_mut().zip(base).zip(moved.to_f64s()) {
                    let same = base == moved || (base.is_nan() && moved.is_nan());
                    let apart = if same { 0.0 } else { (base - moved).abs() };
                    // where no digit is left, a rounding more may be another branch of a function
                    let lost = !same && !(64.0 * apart).le(&base.abs());
                    *room = if lost { f64::INFINITY } else { room.max(64.0 * apart) };
                }
            }
        }
        Ok(Doubt { wanted, room })
    }

    /// What is wrong with these outputs.
    pub fn differs(&self, got: &[Tensor]) -> Option<String> {
        if got.len() != self.wanted.len() {
            return Some(format!("{} outputs became {}", self.wanted.len(), got.len()));
        }
        self.wanted.iter().zip(got).zip(&self.room).enumerate().find_map(|(i, ((want, got), room))| {
            if want.ty() != got.ty() {
                return Some(format!("output {i}: {} became {}", want.ty(), got.ty()));
            }
            let values = want.to_f64s().into_iter().zip(got.to_f64s()).zip(room);
            let wide = want.dtype().bytes() == 8 && !want.dtype().is_float() && want.bytes() != got.bytes();
            let wrong = values.enumerate().find(|(_, ((w, g), room))| {
                let same = w == g || (w.is_nan() && g.is_nan());
                !same && !room.is_infinite() && !(w - g).abs().le(*room)
            });
            match wrong {
                Some((k, ((w, g), room))) => Some(format!("output {i}, element {k}: {g:e}, not {w:e} (give or take {room:e})")),
                None => wide.then(|| format!("output {i}: its integers differ")),
            }
        })
    }
}

/// Half a dozen roundings of a type, relatively.
fn unit(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F64 => 2f64.powi(-44),
        Dtype::F16 => 2f64.powi(-8),
        Dtype::BF16 => 2f64.powi(-5),
        _ => 2f64.powi(-20),
    }
}

/// The graph of single operations, each float result moved a little.
fn moved(graph: &Graph, seed: u64) -> Graph {
    let mut moving = Moving { new: Graph::new(), seed: seed * 1001 };
    let mut ids: Vec<Option<(NodeId, bool)>> = vec![None; graph.bound()];
    let rest = graph.order().into_iter().filter(|id| !graph.inputs().contains(id));
    for id in graph.inputs().iter().copied().chain(rest) {
        let known: Vec<(NodeId, bool)> = graph.operands(id).iter().map(|o| ids[o.index()].expect("operands come first")).collect();
        let exact = is_exact(graph, id, &|o| ids[o.index()].is_some_and(|(_, exact)| exact));
        let made = moving.node(graph, id, &known, exact);
        ids[id.index()] = Some((made, exact));
    }
    let outputs = graph.outputs().iter().map(|(name, id)| (name.clone(), ids[id.index()].expect("it was made").0)).collect();
    moving.new.set_outputs(outputs);
    moving.new
}

struct Moving {
    new: Graph,
    seed: u64,
}

impl Moving {
    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.new.add(op, operands, &[]).expect("a part of what fitted fits")
    }

    /// The value times 1 and a little, element by element.
    fn shake(&mut self, x: NodeId) -> NodeId {
        let ty = self.new.ty(x).clone();
        if !rounds(ty.dtype) {
            return x;
        }
        self.seed += 1;
        let shape = ty.fixed().expect("nothing here is symbolic");
        let drawn = ir::graph::text::random(Dtype::F64, &shape, self.seed).to_f64s();
        let factor = |r: f64| Literal::number(ty.dtype, 1.0 + unit(ty.dtype) * (if r < 0.0 { r - 1.0 } else { r + 1.0 })).to_bytes();
        let tensor = Tensor::dense(ty.dtype, &shape, drawn.into_iter().flat_map(factor).collect::<Vec<u8>>());
        let factor = self.new.constant(tensor, &[]);
        self.add(Op::Map { body: Body::of(ScalarOp::Mul) }, &[x, factor])
    }

    /// The value with 0 for what is not finite: whether a neighbour of weight 0 counts is open (docs/gir.md).
    fn finite(&mut self, x: NodeId) -> NodeId {
        let zero = Arg::Literal(Literal::number(self.new.ty(x).dtype, 0.0));
        let mut body = Body { params: 1, terms: Vec::new(), result: Arg::Param(0) };
        let (nan, infinite) = (body.push(ScalarOp::IsNan, &[Arg::Param(0)]), body.push(ScalarOp::IsInf, &[Arg::Param(0)]));
        let either = body.push(ScalarOp::Or, &[nan, infinite]);
        body.result = body.push(ScalarOp::Select, &[either, zero, Arg::Param(0)]);
        self.add(Op::Map { body }, &[x])
    }

    /// Results of a convolution, NaN where its image has anything that is not finite: how far that reaches is open (docs/gir.md).
    fn spread(&mut self, image: NodeId, results: NodeId) -> NodeId {
        let ty = self.new.ty(image).clone();
        let mut body = Body { params: 1, terms: Vec::new(), result: Arg::Param(0) };
        body.result = body.push(ScalarOp::Mul, &[Arg::Param(0), Arg::Literal(Literal::number(ty.dtype, 0.0))]);
        let zeros = self.add(Op::Map { body }, &[image]);
        let axes = (1..ty.shape.len()).collect();
        let sum = Op::Reduce { kind: ReduceKind::Sum, axes, prologue: Body::identity(), epilogue: Body::identity() };
        let zero = self.add(sum, &[zeros]);
        self.add(Op::Map { body: Body::of(ScalarOp::Add) }, &[results, zero])
    }

    /// A wave of a large number is any number between -1 and 1 (`kernels::math`).
    fn lost_beyond(&mut self, x: NodeId, wave: NodeId) -> NodeId {
        self.seed += 1;
        let dtype = self.new.ty(x).dtype;
        let literal = |value: f64| Arg::Literal(Literal::number(dtype, value));
        let mut body = Body { params: 2, terms: Vec::new(), result: Arg::Param(1) };
        let size = body.push(ScalarOp::Abs, &[Arg::Param(0)]);
        let large = body.push(ScalarOp::Gt, &[size, literal(5000.0)]);
        let any = literal(if self.seed.is_multiple_of(2) { 0.7 } else { -0.7 });
        body.result = body.push(ScalarOp::Select, &[large, any, Arg::Param(1)]);
        self.add(Op::Map { body }, &[x, wave])
    }

    /// The body, a node for each term.
    fn body(&mut self, body: &Body, args: &[(NodeId, bool)]) -> (NodeId, bool) {
        let mut terms: Vec<(NodeId, bool)> = Vec::with_capacity(body.terms.len());
        for term in &body.terms {
            let given: Vec<(NodeId, bool)> = term.args.iter().map(|arg| self.argument(arg, args, &terms)).collect();
            let dtypes: Vec<Dtype> = given.iter().map(|g| self.new.ty(g.0).dtype).collect();
            let exact = term_is_exact(term.op, &dtypes, given.iter().all(|g| g.1));
            let moves = exact || matches!(term.op.class(), Class::Select | Class::Convert);
            let ids: Vec<NodeId> = given.iter().map(|g| if moves { g.0 } else { self.shake(g.0) }).collect();
            let mut made = self.add(Op::Map { body: Body::of(term.op) }, &ids);
            if matches!(term.op, ScalarOp::Sin | ScalarOp::Cos | ScalarOp::Tan) {
                made = self.lost_beyond(ids[0], made);
            }
            terms.push((if exact { made } else { self.shake(made) }, exact));
        }
        self.argument(&body.result, args, &terms)
    }

    fn argument(&mut self, arg: &Arg, args: &[(NodeId, bool)], terms: &[(NodeId, bool)]) -> (NodeId, bool) {
        match *arg {
            Arg::Param(i) => args[i as usize],
            Arg::Term(i) => terms[i as usize],
            Arg::Literal(l) => (self.new.constant(Tensor::splat(l.dtype, &[], &l.to_bytes()), &[]), true),
        }
    }

    fn node(&mut self, graph: &Graph, id: NodeId, operands: &[(NodeId, bool)], exact: bool) -> NodeId {
        let mut op = graph.op(id).clone();
        let whole = graph.ty(id).shape.clone();
        let made = if let Op::Map { body } = &op {
            self.body(body, operands).0
        } else {
            let mut own: Vec<(NodeId, bool)> = operands.to_vec();
            if let Some(prologue) = op.prologue_mut() {
                let before = std::mem::replace(prologue, Body::identity());
                let (x, exact) = self.body(&before, &own[..1]);
                // a prologue of literals alone has lost its shape
                let shape = graph.ty(graph.operands(id)[0]).shape.clone();
                own[0] = (self.wide(x, shape), exact);
            }
            let epilogue = op.epilogue_mut().map(|e| std::mem::replace(e, Body::identity()));
            let extras = if epilogue.is_some() { own.split_off(op.own_operands()) } else { Vec::new() };
            let computes = !exact && !matches!(op, Op::Scatter { .. } | Op::Gather { .. }) && !is_layout(&op);
            // only a take may use a scan
            let shakes = computes && !matches!(op, Op::Take { .. });
            let mut ids: Vec<NodeId> = own.iter().map(|o| if shakes { self.shake(o.0) } else { o.0 }).collect();
            if computes && matches!(op, Op::Resize { .. }) && self.new.ty(ids[0]).dtype.is_float() {
                ids[0] = self.finite(ids[0]);
            }
            let image = matches!(op, Op::Conv { .. }).then(|| ids[0]).filter(|&x| self.new.ty(x).dtype.is_float());
            let sum = self.add(op, &ids);
            let sum = image.map_or(sum, |image| self.spread(image, sum));
            let sum = (if computes { self.shake(sum) } else { sum }, exact && extras.is_empty());
            match epilogue {
                Some(body) if !body.is_identity() => {
                    let args: Vec<(NodeId, bool)> = std::iter::once(sum).chain(extras).collect();
                    self.body(&body, &args).0
                }
                _ => sum.0,
            }
        };
        self.wide(made, whole)
    }

    /// A value that broadcasting made smaller than it is to be.
    fn wide(&mut self, x: NodeId, shape: Vec<dim::Dim>) -> NodeId {
        if self.new.ty(x).shape == shape { x } else { self.add(Op::Expand { shape }, &[x]) }
    }
}

fn is_layout(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Expand { .. }
            | Op::Input { .. }
            | Op::Const { .. }
    )
}
