//! How far an axis goes: so many elements, or as many as symbols say when the model runs, with a bound that memory is
//! laid out for. And the symbols of a model, by number. It refuses to know what the axes belong to.

use crate::kept::{self, Kept};
use ir::dim::{Dim, Symbols};
use ir::graph::op::Op;
use ir::program::{Origin, Symbol};
use ir::{Fault, Graph};

/// Elements along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    Fixed(usize),
    /// At most `bound`.
    Open {
        dim: Dim,
        bound: usize,
    },
}

impl Extent {
    pub fn of(dim: &Dim, bound: usize) -> Extent {
        match dim.fixed() {
            Some(_) => Extent::Fixed(bound),
            None => Extent::Open { dim: dim.clone(), bound },
        }
    }

    /// What memory is laid out for.
    pub fn bound(&self) -> usize {
        match self {
            Extent::Fixed(n) | Extent::Open { bound: n, .. } => *n,
        }
    }

    pub fn fixed(&self) -> Option<usize> {
        match self {
            Extent::Fixed(n) => Some(*n),
            Extent::Open { .. } => None,
        }
    }

    pub fn dim(&self) -> Dim {
        match self {
            Extent::Fixed(n) => Dim::from(*n),
            Extent::Open { dim, .. } => dim.clone(),
        }
    }

    /// Elements of a box.
    pub fn product(all: &[Extent]) -> Extent {
        let dim = all.iter().fold(Dim::from(1i64), |product, e| product * e.dim());
        Extent::of(&dim, all.iter().map(Extent::bound).product())
    }
}

impl From<usize> for Extent {
    fn from(n: usize) -> Extent {
        Extent::Fixed(n)
    }
}

impl From<&Extent> for Extent {
    fn from(extent: &Extent) -> Extent {
        extent.clone()
    }
}

/// The symbols of a program in its order, and their ranges.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub list: Vec<Symbol>,
    pub ranges: Symbols,
}

impl Table {
    /// Free symbols are those of inputs' dimensions, in the order of the inputs; then how long what is `kept` is; then those that an
    /// operator gives; then what inputs and outputs have that is neither fixed nor a symbol. Faults: a free symbol that no
    /// dimension of an input is by itself, one that stands nowhere.
    pub fn new(graph: &Graph, kept: &[Kept]) -> Result<Table, Vec<Fault>> {
        let mut list: Vec<Symbol> = Vec::new();
        let range = |name: &str| graph.symbols.get(name).copied().unwrap_or((0, i64::MAX));
        let mut add = |name: &str, origin: Origin| {
            let (low, high) = range(name);
            if !list.iter().any(|s| &*s.name == name) {
                list.push(Symbol { name: name.into(), low, high, origin });
            }
        };
        let inputs = || graph.inputs().iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.input != *i)).map(|(_, id)| id);
        let outputs = || graph.outputs().iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.output != *i)).map(|(_, (_, id))| id);
        let dims = |id| graph.ty(id).shape.iter();
        let lengths = kept::lengths(graph, kept);
        let free = |name: &&str| lengths.iter().all(|(length, _)| &**length != *name);
        let alone = graph.inputs().iter().flat_map(|&id| dims(id)).filter_map(Dim::as_symbol);
        alone.filter(free).for_each(|name| add(name, Origin::Free));
        lengths.iter().enumerate().for_each(|(i, (name, _))| add(name, Origin::State { offset: 8 * i as u64 }));
        for id in graph.order() {
            if let Some(name) = given_by(graph.op(id)) {
                add(name, Origin::Data);
            }
        }
        let known: Vec<_> = list.iter().map(|s| s.name.clone()).collect();
        let nodes = graph.order();
        let unknown = nodes.iter().find_map(|&id| dims(id).flat_map(Dim::symbols).find(|name| !known.contains(name)).map(|n| (id, n)));
        if let Some((id, name)) = unknown {
            let fault = Fault::usage(format!("dimension {name} is not bound")).at(graph.label(id));
            return Err(vec![fault.help(format!("give its size: --dim {name}=N"))]);
        }
        for dim in inputs().chain(outputs()).flat_map(|&id| dims(id)).filter(|d| d.fixed().is_none() && d.as_symbol().is_none()) {
            let name: std::sync::Arc<str> = dim.to_string().into();
            if !list.iter().any(|s| s.origin == Origin::Derived(dim.clone())) {
                let (low, high) = dim.bounds(&graph.symbols);
                // a symbol may be called like the text of a dimension
                let name = if known.contains(&name) { format!("={name}").into() } else { name };
                list.push(Symbol { name, low: low.max(0), high, origin: Origin::Derived(dim.clone()) });
            }
        }
        Ok(Table { list, ranges: graph.symbols.clone() })
    }

    /// The number of a symbol that is not derived.
    pub fn index(&self, name: &str) -> usize {
        let is = |s: &Symbol| &*s.name == name && !matches!(s.origin, Origin::Derived(_));
        self.list.iter().position(is).expect("the table has every symbol of the graph")
    }

    pub fn free(&self) -> usize {
        self.list.iter().take_while(|s| s.origin == Origin::Free).count()
    }
}

/// The symbol whose value an operator finds out.
pub fn given_by(op: &Op) -> Option<&str> {
    match op {
        Op::Compact { length } => length.as_symbol(),
        _ => None,
    }
}
