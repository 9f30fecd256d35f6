//! The inputs and outputs that a model declares, and how their dimensions get sizes: from the user's
//! word, from the arrays at hand, or by rule. It refuses to know what computes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ir::{Dim, Dtype, Fault, Symbols, Type};

use crate::proto::{self, dimension, type_value};
use crate::{Extent, Options, tensors};

/// An input or output as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    /// Absent when the type is missing, no tensor, or unknown to us.
    pub dtype: Option<Dtype>,
    /// Absent when the number of axes is not declared.
    pub dims: Option<Vec<DeclaredDim>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredDim {
    Size(i64),
    Name(String),
    Unknown,
}

/// `3`, `seq`, `?`.
impl fmt::Display for DeclaredDim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeclaredDim::Size(size) => write!(f, "{size}"),
            DeclaredDim::Name(name) => f.write_str(name),
            DeclaredDim::Unknown => f.write_str("?"),
        }
    }
}

/// The declared inputs that are not initializers.
pub fn inputs(graph: &proto::Graph) -> Vec<Declared> {
    let defaults = initializers(graph);
    graph.input.iter().map(declared).filter(|d| !defaults.contains(d.name.as_str())).collect()
}

pub fn outputs(graph: &proto::Graph) -> Vec<Declared> {
    graph.output.iter().map(declared).collect()
}

/// The names of constants that the file brings along.
pub fn initializers(graph: &proto::Graph) -> BTreeSet<&str> {
    let dense = graph.initializer.iter().filter_map(|t| t.name.as_deref());
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()?.name.as_deref());
    dense.chain(sparse).collect()
}

pub fn declared(info: &proto::ValueInfo) -> Declared {
    let name = info.name.clone().unwrap_or_default();
    let Some(type_value::Value::Tensor(tensor)) = kind(info) else {
        return Declared { name, dtype: None, dims: None };
    };
    let dtype = Dtype::from_onnx(tensor.elem_type.unwrap_or(0));
    let dims = tensor.shape.as_ref().map(|shape| {
        let dim = |d: &proto::Dimension| match &d.value {
            Some(dimension::Value::Size(size)) => DeclaredDim::Size(*size),
            Some(dimension::Value::Name(name)) if !name.is_empty() => DeclaredDim::Name(name.clone()),
            _ => DeclaredDim::Unknown,
        };
        shape.dim.iter().map(dim).collect()
    });
    Declared { name, dtype, dims }
}

/// What is declared; an optional tensor is one that is given.
fn kind(info: &proto::ValueInfo) -> Option<&type_value::Value> {
    use type_value::Value;
    let own = info.ty.as_ref()?.value.as_ref()?;
    let Value::Optional(optional) = own else { return Some(own) };
    let inside = optional.elem_type.as_ref().and_then(|t| t.value.as_ref());
    Some(inside.filter(|inside| matches!(inside, Value::Tensor(_))).unwrap_or(own))
}

/// The type of a declared tensor. Fault: no type, or one that is no tensor.
pub fn dtype(info: &proto::ValueInfo) -> Result<Dtype, Fault> {
    use type_value::Value;
    let kind = match kind(info) {
        Some(Value::Tensor(tensor)) => return tensors::dtype(tensor.elem_type.unwrap_or(0)),
        None => return Err(Fault::invalid("it is declared without a type")),
        Some(Value::Sequence(_)) => "sequence",
        Some(Value::Map(_)) => "map",
        Some(Value::Optional(_)) => "optional",
        Some(Value::Sparse(_)) => "sparse tensor",
        Some(Value::Opaque(_)) => "opaque value",
    };
    Err(Fault::unsupported(format!("it is a {kind}; only tensors are supported")))
}

/// Sizes for the dimensions of all inputs together.
pub struct Sizing<'o> {
    options: &'o Options,
    /// Named dimensions that the arrays at hand fix: the first array decides.
    from_arrays: BTreeMap<String, i64>,
    /// Names that inputs have used.
    used: BTreeSet<String>,
    pub symbols: Symbols,
    pub notes: Vec<String>,
    pub faults: Vec<Fault>,
}

impl<'o> Sizing<'o> {
    /// Looks at the arrays at hand first, so that one input's array fixes another input's dimension.
    pub fn new(inputs: &[Declared], options: &'o Options) -> Sizing<'o> {
        let mut sizing = Sizing {
            options,
            from_arrays: BTreeMap::new(),
            used: BTreeSet::new(),
            symbols: Symbols::new(),
            notes: Vec::new(),
            faults: Vec::new(),
        };
        for input in inputs {
            let (Some(dims), Some(actual)) = (&input.dims, options.shapes.get(&input.name)) else { continue };
            // An array that does not fit decides nothing; whoever runs the model refuses it.
            if dims.len() != actual.len() {
                continue;
            }
            for (dim, &size) in dims.iter().zip(actual) {
                let DeclaredDim::Name(name) = dim else { continue };
                sizing.from_arrays.entry(name.clone()).or_insert(size as i64);
            }
        }
        sizing
    }

    /// The shape of one input. Faults go to the list; such a dimension becomes 1.
    pub fn shape(&mut self, input: &Declared) -> Vec<Dim> {
        let actual = self.options.shapes.get(&input.name);
        let Some(dims) = &input.dims else {
            if let Some(actual) = actual {
                return ir::dim::dims(actual);
            }
            let text = "its number of axes is not declared";
            self.faults.push(Fault::unsupported(text).at(&input.name).help("declare a shape in the model, or bind the input with --bind"));
            return Vec::new();
        };
        let actual = actual.filter(|a| a.len() == dims.len());
        (0..dims.len()).map(|axis| self.size(input, axis, &dims[axis], actual)).collect()
    }

    fn size(&mut self, input: &Declared, axis: usize, dim: &DeclaredDim, actual: Option<&Vec<usize>>) -> Dim {
        let name = match dim {
            DeclaredDim::Size(size) if *size < 0 => {
                let text = format!("its dimension {axis} is negative: {size}");
                self.faults.push(Fault::invalid(text).at(&input.name));
                return Dim::from(1i64);
            }
            DeclaredDim::Size(size) => return Dim::from(*size),
            DeclaredDim::Name(name) => name.clone(),
            DeclaredDim::Unknown => format!("{}.{axis}", input.name),
        };
        self.used.insert(name.clone());
        match self.options.dims.get(&name) {
            Some(Extent::Fixed(size)) if *size >= 0 => return Dim::from(*size),
            Some(Extent::Range(low, high)) if 0 <= *low && low <= high => {
                self.symbols.insert(name.as_str().into(), (*low, *high));
                return Dim::symbol(&name);
            }
            Some(extent) => {
                self.faults.push(Fault::usage(format!("dimension {name:?} cannot be {extent:?}")).at(&input.name));
                return Dim::from(1i64);
            }
            None => {}
        }
        if let Some(size) = self.from_arrays.get(&name) {
            return Dim::from(*size);
        }
        if let Some(size) = actual.and_then(|a| a.get(axis)) {
            return Dim::from(*size);
        }
        if axis == 0 {
            let note = format!("dimension {name:?} of input {:?} is taken as 1 (--dim {name}=N for another)", input.name);
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        } else {
            let text = format!("its dimension {axis} ({name:?}) has no size");
            self.faults.push(Fault::usage(text).at(&input.name).help(format!("give one with --dim {name}=N")));
        }
        Dim::from(1i64)
    }

    /// Faults for sizes that no input asked for; to be called last.
    pub fn unused(&mut self) {
        for name in self.options.dims.keys().filter(|name| !self.used.contains(*name)) {
            let known: Vec<&str> = self.used.iter().map(String::as_str).collect();
            let help = match known.is_empty() {
                true => "all dimensions of the model are fixed".to_string(),
                false => format!("the open dimensions are {}", known.join(", ")),
            };
            self.faults.push(Fault::usage(format!("no input has a dimension {name:?}")).help(help));
        }
    }
}

/// Fault: a declared type or shape that contradicts the one that was found.
pub fn agrees(declared: &Declared, found: &Type) -> Result<(), Fault> {
    if let Some(dtype) = declared.dtype
        && dtype != found.dtype
    {
        return Err(Fault::invalid(format!("it is declared as {}, and is {}", dtype.name(), found.dtype.name())));
    }
    let Some(dims) = &declared.dims else { return Ok(()) };
    let fits = dims.len() == found.rank()
        && dims.iter().zip(&found.shape).all(|(declared, found)| match (declared, found.fixed()) {
            (DeclaredDim::Size(size), Some(found)) => *size == found,
            _ => true,
        });
    if fits {
        return Ok(());
    }
    let text: Vec<String> = dims.iter().map(DeclaredDim::to_string).collect();
    Err(Fault::invalid(format!("its shape is declared as [{}], and is {found}", text.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, dims: &[DeclaredDim]) -> Declared {
        Declared { name: name.into(), dtype: Some(Dtype::F32), dims: Some(dims.to_vec()) }
    }

    fn named(name: &str) -> DeclaredDim {
        DeclaredDim::Name(name.into())
    }

    #[test]
    fn a_leading_dimension_becomes_one_and_says_so() {
        let x = input("x", &[named("batch"), DeclaredDim::Size(3), DeclaredDim::Unknown]);
        let options = Options { dims: [("x.2".to_string(), Extent::Fixed(8))].into(), ..Options::default() };
        let mut sizing = Sizing::new(std::slice::from_ref(&x), &options);
        assert_eq!(sizing.shape(&x), ir::dim::dims(&[1, 3, 8]));
        sizing.unused();
        assert_eq!((sizing.notes.len(), sizing.faults.len()), (1, 0));
    }

    #[test]
    fn any_other_open_dimension_is_a_fault_that_tells_the_flag() {
        let x = input("x", &[named("batch"), named("seq")]);
        let options = Options { dims: [("sequence".to_string(), Extent::Fixed(8))].into(), ..Options::default() };
        let mut sizing = Sizing::new(std::slice::from_ref(&x), &options);
        sizing.shape(&x);
        sizing.unused();
        let text: Vec<String> = sizing.faults.iter().map(|f| f.to_string()).collect();
        assert!(text[0].contains("--dim seq=N") && text[1].contains("batch, seq"), "{text:?}");
    }

    #[test]
    fn arrays_at_hand_fix_dimensions_everywhere() {
        let (x, y) = (input("x", &[named("batch"), named("seq")]), input("y", &[named("seq")]));
        let options = Options { shapes: [("x".to_string(), vec![2, 5])].into(), ..Options::default() };
        let mut sizing = Sizing::new(&[x.clone(), y.clone()], &options);
        assert_eq!((sizing.shape(&x), sizing.shape(&y)), (ir::dim::dims(&[2, 5]), ir::dim::dims(&[5])));
        assert_eq!(sizing.faults, []);
        let shapes = [("x".to_string(), vec![2, 5]), ("y".to_string(), vec![6, 6])].into();
        let options = Options { shapes, ..Options::default() };
        let mut sizing = Sizing::new(&[x, y.clone()], &options);
        assert_eq!((sizing.shape(&y), sizing.faults.len()), (ir::dim::dims(&[5]), 0));
    }

    #[test]
    fn ranges_become_symbols() {
        let x = input("x", &[named("n")]);
        let options = Options { dims: [("n".to_string(), Extent::Range(1, 9))].into(), ..Options::default() };
        let mut sizing = Sizing::new(std::slice::from_ref(&x), &options);
        assert_eq!(sizing.shape(&x), [Dim::symbol("n")]);
        assert_eq!(sizing.symbols.get("n"), Some(&(1, 9)));
    }
}
