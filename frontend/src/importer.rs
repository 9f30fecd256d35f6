//! A model becomes a graph, node by node: scopes of names, functions and taken branches inlined, and every
//! fault collected. A value whose node failed is *lost*: nodes that read it are skipped in silence,
//! so that one mistake is told once. It refuses to know any operator.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ir::{Fault, Kind, NodeId, Op, Tensor, Type};

use crate::attrs::{Attrs, Bound};
use crate::build::{Build, Value};
use crate::cx::Cx;
use crate::ops::{self, How};
use crate::signature::{self, Declared, Sizing};
use crate::source::Source;
use crate::wiring::{self, label};
use crate::{Import, OPSETS, Options, proto, symbolic, tensors};

/// The newest version of the file format that is understood.
const IR_VERSION: i64 = 14;

/// A name's value, or the news that making it failed.
#[derive(Clone)]
enum Slot {
    Value(Value),
    Lost,
}

/// Versions of operator sets by domain; the default domain is `""`.
type Opsets = BTreeMap<String, i64>;

/// The names that nodes of one graph or function can read.
pub struct Scope<'m, 'p> {
    slots: HashMap<&'m str, Slot>,
    parent: Option<&'p Scope<'m, 'p>>,
    /// The attributes of the call, inside a function.
    bound: Option<&'p Bound<'m>>,
    opsets: &'p Opsets,
    /// The path of calls that leads here, for provenance; empty or with a slash at its end.
    path: String,
}

impl<'m> Scope<'m, '_> {
    fn find(&self, name: &str) -> Option<&Slot> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(slot) = here.slots.get(name) {
                return Some(slot);
            }
            scope = here.parent;
        }
        None
    }
}

/// A function's key: domain, name, overload.
type Key<'m> = (&'m str, &'m str, &'m str);

/// The import of one model.
pub struct Importer<'m, 'o> {
    pub build: Build<'o>,
    pub source: &'o dyn Source,
    functions: BTreeMap<Key<'m>, &'m proto::Function>,
    /// Functions being inlined, outermost first.
    calls: Vec<Key<'m>>,
    depth: usize,
    /// Nodes seen, functions inlined.
    nodes: usize,
    faults: Vec<Fault>,
    /// What was decided, and a user would want to know.
    notes: Vec<String>,
    untold: usize,
    /// A budget is used up: nothing more is imported.
    stopped: bool,
}

/// The graph of a decoded model.
pub fn import(model: &proto::Model, source: &dyn Source, options: &Options) -> Result<Import, Vec<Fault>> {
    let mut importer = Importer {
        build: Build::new(&options.limits),
        source,
        functions: BTreeMap::new(),
        calls: Vec::new(),
        depth: 0,
        nodes: 0,
        faults: Vec::new(),
        notes: Vec::new(),
        untold: 0,
        stopped: false,
    };
    let opsets = importer.header(model);
    let Some(graph) = &model.graph else {
        importer.fault(Fault::invalid("the model has no graph"));
        return Err(importer.faults);
    };
    if !importer.faults.is_empty() {
        return Err(importer.faults);
    }
    importer.main(graph, &opsets, options);
    if importer.untold > 0 {
        let kind = importer.faults.iter().map(|f| f.kind).max().unwrap_or(Kind::Invalid);
        importer.faults.push(Fault::new(kind, format!("and {} more", importer.untold)));
    }
    if !importer.faults.is_empty() {
        return Err(importer.faults);
    }
    let mut graph = importer.build.graph;
    graph.remove_dead();
    Ok(Import {
        graph,
        name: model.graph.as_ref().and_then(|g| g.name.clone()).unwrap_or_default(),
        producer: model.producer_name.clone().unwrap_or_default(),
        opset: opsets.get("").copied().unwrap_or(0),
        notes: importer.notes,
    })
}

impl<'m, 'o> Importer<'m, 'o> {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() >= self.build.limits.faults {
            self.untold += 1;
        } else if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Versions and functions. Faults go to the list.
    fn header(&mut self, model: &'m proto::Model) -> Opsets {
        let version = model.ir_version.unwrap_or(0);
        if version < 1 {
            self.fault(Fault::invalid(format!("the model's ir_version is {version}, and must be 1 or more")));
        } else if version > IR_VERSION {
            let text = format!("the model's ir_version is {version}; versions up to {IR_VERSION} are understood");
            self.fault(Fault::unsupported(text));
        }
        let mut opsets = self.opsets(&model.opset_import);
        if opsets.is_empty() && version < 3 {
            // Files from before opsets existed mean the first.
            opsets.insert(String::new(), 1);
        }
        for function in &model.functions {
            let text = |t: &'m Option<String>| t.as_deref().unwrap_or("");
            let key = (domain(text(&function.domain)), text(&function.name), text(&function.overload));
            if self.functions.insert(key, function).is_some() {
                self.fault(Fault::invalid("it is defined twice").at(key.1));
            }
        }
        opsets
    }

    fn opsets(&mut self, imports: &[proto::OperatorSet]) -> Opsets {
        let mut opsets = Opsets::new();
        for import in imports {
            let name = domain(import.domain.as_deref().unwrap_or(""));
            let version = import.version.unwrap_or(0);
            if version < 1 {
                self.fault(Fault::invalid(format!("opset {version} of domain {name:?} does not exist")));
            } else if name.is_empty() && !OPSETS.contains(&version) {
                let text = format!("the model needs opset {version}; {} to {} are understood", OPSETS.start(), OPSETS.end());
                self.fault(Fault::unsupported(text));
            }
            if let Some(first) = opsets.insert(name.to_string(), version)
                && first != version
            {
                self.fault(Fault::invalid(format!("domain {name:?} is imported as {first} and as {version}")));
            }
        }
        opsets
    }

    /// The main graph.
    fn main(&mut self, graph: &'m proto::Graph, opsets: &Opsets, options: &Options) {
        let declared: Vec<Declared> = graph.input.iter().map(signature::declared).collect();
        let mut sizing = Sizing::new(&declared, options);
        let mut scope = Scope { slots: HashMap::new(), parent: None, bound: None, opsets, path: String::new() };
        self.initializers(graph, &mut scope);
        for name in options.bind.keys().filter(|name| !declared.iter().any(|d| d.name == **name)) {
            let known: Vec<String> = declared.iter().map(|d| d.name.clone()).collect();
            let help = format!("the inputs are {}", known.join(", "));
            self.fault(Fault::usage(format!("there is no input {name:?} to bind")).help(help));
        }
        // Symbols have to be known before the first type is judged.
        let open = |d: &&Declared| !options.bind.contains_key(&d.name) && !scope.slots.contains_key(d.name.as_str());
        let shapes: BTreeMap<&str, Vec<ir::Dim>> = declared.iter().filter(open).map(|d| (d.name.as_str(), sizing.shape(d))).collect();
        sizing.unused();
        self.build.graph.symbols = std::mem::take(&mut sizing.symbols);
        for fault in std::mem::take(&mut sizing.faults) {
            self.fault(fault);
        }
        self.notes = std::mem::take(&mut sizing.notes);
        let mut seen = std::collections::BTreeSet::new();
        for (info, declared) in graph.input.iter().zip(&declared) {
            let name = info.name.as_deref().unwrap_or("");
            if name.is_empty() {
                self.fault(Fault::invalid("an input has no name"));
                continue;
            }
            if !seen.insert(name) {
                self.fault(Fault::invalid("it is declared twice").at(name));
                continue;
            }
            self.build.names = vec![name.into()];
            let made = match (options.bind.get(name), scope.slots.get(name)) {
                (Some(tensor), _) => self.bound_input(info, declared, tensor),
                (None, Some(Slot::Lost)) => continue,
                (None, Some(Slot::Value(value))) => signature::agrees(declared, &value.ty).map(|()| value.clone()),
                (None, None) => {
                    let made = self.input(info, name, shapes.get(name).cloned().unwrap_or_default());
                    made.map_err(|fault| read_by(fault, name, &graph.node))
                }
            };
            let slot = match made {
                Ok(value) => Slot::Value(value),
                Err(fault) => {
                    self.fault(fault.at(name));
                    Slot::Lost
                }
            };
            scope.slots.insert(name, slot);
        }
        self.nodes(&graph.node, &mut scope);
        self.outputs(graph, &scope);
    }

    fn input(&mut self, info: &proto::ValueInfo, name: &str, shape: Vec<ir::Dim>) -> Result<Value, Fault> {
        let ty = Type::new(signature::dtype(info)?, shape);
        self.build.fits(&ty)?;
        self.build.add(Op::Input { name: name.to_string(), ty }, &[])
    }

    fn bound_input(&mut self, info: &proto::ValueInfo, declared: &Declared, tensor: &Tensor) -> Result<Value, Fault> {
        signature::dtype(info)?;
        match signature::agrees(declared, &tensor.ty()) {
            Ok(()) => Ok(self.build.constant(tensor.clone())),
            Err(fault) => Err(Fault::usage(format!("the bound array does not fit: {}", fault.what))),
        }
    }

    fn initializers(&mut self, graph: &'m proto::Graph, scope: &mut Scope<'m, '_>) {
        let dense = graph.initializer.iter().map(|t| (t.name.as_deref(), Ok(t)));
        let sparse = graph.sparse_initializer.iter().map(|s| (s.values.as_ref().and_then(|v| v.name.as_deref()), Err(s)));
        for (name, tensor) in dense.chain(sparse) {
            let name = name.unwrap_or("");
            if name.is_empty() {
                self.fault(Fault::invalid("an initializer has no name"));
                continue;
            }
            self.build.names = vec![name.into()];
            let read = match tensor {
                Ok(tensor) => tensors::read(tensor, self.source, self.build.limits),
                Err(sparse) => {
                    tensors::room(sparse, &mut self.build).and_then(|()| tensors::read_sparse(sparse, self.source, self.build.limits))
                }
            };
            let slot = match read {
                Ok(tensor) => Slot::Value(self.build.constant(tensor)),
                Err(fault) => {
                    self.fault(fault.at(name));
                    Slot::Lost
                }
            };
            if scope.find(name).is_some() {
                self.fault(Fault::invalid("it is defined twice").at(name));
            }
            scope.slots.insert(name, slot);
        }
    }

    fn outputs(&mut self, graph: &'m proto::Graph, scope: &Scope<'m, '_>) {
        let mut outputs: Vec<(String, NodeId)> = Vec::new();
        if graph.output.is_empty() {
            self.fault(Fault::invalid("the graph has no output"));
        }
        let mut seen = std::collections::BTreeSet::new();
        for info in &graph.output {
            let name = info.name.as_deref().unwrap_or("");
            if !seen.insert(name) {
                self.fault(Fault::invalid("this output is declared twice").at(name));
                continue;
            }
            match scope.find(name) {
                None => self.fault(Fault::invalid("nothing makes this output").at(name)),
                Some(Slot::Lost) => {}
                Some(Slot::Value(value)) => {
                    let agrees = match info.ty {
                        Some(_) => signature::dtype(info).and_then(|_| signature::agrees(&signature::declared(info), &value.ty)),
                        None => Ok(()),
                    };
                    self.build.names = vec![name.into()];
                    match agrees.and_then(|()| self.build.node_of(value)) {
                        Ok(node) => outputs.push((name.to_string(), node)),
                        Err(fault) => self.fault(fault.at(name)),
                    }
                }
            }
        }
        self.build.graph.set_outputs(outputs);
    }

    /// The nodes of a graph or function, each after what it reads.
    fn nodes(&mut self, nodes: &'m [proto::Node], scope: &mut Scope<'m, '_>) {
        let order = match wiring::order(nodes, &|name| scope.find(name).is_some()) {
            Ok(order) => order,
            Err(misfits) => {
                for misfit in misfits {
                    let fault = match misfit.node {
                        Some(index) => placed(misfit.fault, &nodes[index], index, scope),
                        None => misfit.fault,
                    };
                    self.fault(fault);
                }
                self.stopped = true;
                return;
            }
        };
        for index in order {
            if self.stopped {
                return;
            }
            self.node(&nodes[index], index, scope);
        }
    }

    fn node(&mut self, node: &'m proto::Node, index: usize, scope: &mut Scope<'m, '_>) {
        self.nodes += 1;
        if self.nodes > self.build.limits.nodes {
            self.stopped = true;
            let text = format!("the model has more than {} nodes, its functions inlined", self.build.limits.nodes);
            self.fault(Fault::limit(text));
            return;
        }
        let own = match node.name.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => node.output.iter().find(|o| !o.is_empty()).map_or("", String::as_str),
        };
        // inside of functions and loops a node is made many times over
        let own = if self.depth > 0 { clipped(own) } else { own };
        let name: Arc<str> = format!("{}{own}", scope.path).into();
        let outer = std::mem::replace(&mut self.build.names, vec![name]);
        let made = self.made(node, scope);
        self.build.names = outer;
        let values = match made {
            Ok(values) => values,
            Err(fault) => {
                if let Some(fault) = fault {
                    self.fault(placed(fault, node, index, scope));
                }
                Vec::new()
            }
        };
        for (i, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            let slot = values.get(i).cloned().map_or(Slot::Lost, Slot::Value);
            scope.slots.insert(output, slot);
        }
    }

    /// The values that a node makes. Without a fault in the error, a value it reads is lost.
    fn made(&mut self, node: &'m proto::Node, scope: &Scope<'m, '_>) -> Result<Vec<Value>, Option<Fault>> {
        let op = node.op_type.as_deref().unwrap_or("");
        let domain = domain(node.domain.as_deref().unwrap_or(""));
        if op.is_empty() {
            return Err(Some(Fault::invalid("it names no operator")));
        }
        let function = self.functions.get_key_value(&(domain, op, node.overload.as_deref().unwrap_or("")));
        let function = function.map(|(key, function)| (*key, *function));
        let row = match function {
            Some(_) => None,
            None => Some(self.row(domain, op, scope)?),
        };
        let attrs = Attrs::new(node, scope.bound)?;
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match (name.as_str(), scope.find(name)) {
                ("", _) => None,
                (_, Some(Slot::Value(value))) => Some(value.clone()),
                (_, Some(Slot::Lost) | None) => return Err(None),
            });
        }
        let wanted: Vec<bool> = node.output.iter().map(|o| !o.is_empty()).collect();
        let outputs = wanted.iter().rposition(|w| *w).map_or(0, |i| i + 1);
        let Some((row, version)) = row else {
            let (key, function) = function.expect("without a row there is a function");
            return self.call(key, function, &attrs, inputs, outputs, scope);
        };
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let (fewest, most) = row.inputs;
        if inputs.len() < fewest || inputs.len() > most {
            let wants = match most {
                _ if fewest == most => fewest.to_string(),
                usize::MAX => format!("{fewest} or more"),
                _ => format!("{fewest} to {most}"),
            };
            return Err(Some(Fault::invalid(format!("it has {} inputs, and takes {wants}", inputs.len()))));
        }
        if outputs > row.outputs {
            return Err(Some(Fault::invalid(format!("it has {outputs} outputs; there are at most {}", row.outputs))));
        }
        if inputs.iter().flatten().any(|v| v.items.is_some()) && !ops::sequence::TAKERS.contains(&op) {
            return Err(Some(Fault::unsupported("it is given a sequence; only tensors are supported")));
        }
        let mut cx = Cx { importer: self, scope, attrs: &attrs, inputs, wanted, version };
        let values = match symbolic::import(op, &mut cx)? {
            Some(values) => values,
            None => match &row.how {
                How::Function(function) => function(&mut cx)?,
                How::Body(text, defaults) => ops::pointwise::from_row(&mut cx, text, defaults)?,
            },
        };
        if !self.faults.is_empty() && values.is_empty() {
            return Err(None);
        }
        if let Some(name) = attrs.unseen().first() {
            return Err(Some(Fault::invalid(format!("there is no attribute {name:?} in {op}"))));
        }
        if values.len() < outputs {
            return Err(Some(Fault::unsupported(format!("its output {} is not supported", values.len()))));
        }
        for value in &values {
            self.build.fits(&value.ty)?;
        }
        Ok(values)
    }

    /// The row of an operator and the version of its domain.
    fn row(&self, domain: &str, op: &str, scope: &Scope) -> Result<(&'static ops::Row, i64), Fault> {
        let rows = ops::find(domain, op);
        let Some(version) = scope.opsets.get(domain).copied() else {
            return Err(match (domain, rows) {
                ("", _) => Fault::invalid("the model does not say which opset it uses"),
                _ => Fault::unsupported(format!("the operator domain {domain:?} is not imported by the model")),
            });
        };
        let Some(row) = rows else {
            return Err(Fault::unsupported(match domain {
                "" => format!("the operator {op} is not supported"),
                _ => format!("the operator {domain}.{op} is not supported"),
            }));
        };
        if version < row.since {
            let text = format!("{op} exists since opset {}, and the model uses opset {version}", row.since);
            return Err(Fault::unsupported(text));
        }
        Ok((row, version))
    }

    /// A function of the model, inlined.
    fn call(
        &mut self,
        key: Key<'m>,
        function: &'m proto::Function,
        attrs: &Attrs<'m>,
        inputs: Vec<Option<Value>>,
        outputs: usize,
        scope: &Scope<'m, '_>,
    ) -> Result<Vec<Value>, Option<Fault>> {
        if self.calls.contains(&key) {
            return Err(Some(Fault::invalid(format!("the function {} calls itself", key.1))));
        }
        if inputs.len() > function.input.len() || outputs > function.output.len() {
            return Err(Some(Fault::invalid(format!(
                "it has {} inputs and {outputs} outputs; the function {} has {} and {}",
                inputs.len(),
                key.1,
                function.input.len(),
                function.output.len()
            ))));
        }
        let mut bound: Bound<'m> = Bound::new();
        for default in &function.attribute_proto {
            bound.insert(default.name.clone().unwrap_or_default(), default);
        }
        for (name, attribute) in attrs.all() {
            let known = bound.contains_key(name) || function.attribute.iter().any(|a| a == name);
            if !known {
                return Err(Some(Fault::invalid(format!("the function {} has no attribute {name:?}", key.1))));
            }
            bound.insert(name.to_string(), attribute);
        }
        self.descend()?;
        let own = self.opsets(&function.opset_import);
        let opsets = if own.is_empty() { scope.opsets } else { &own };
        let path = format!("{}/", clipped(self.build.names.first().map_or("", |n| n)));
        let mut inner = Scope { slots: HashMap::new(), parent: None, bound: Some(&bound), opsets, path };
        // An operand that the call leaves out is known inside, as nothing.
        let mut absent = Vec::new();
        for (i, name) in function.input.iter().enumerate() {
            match inputs.get(i).cloned().flatten() {
                Some(value) => {
                    inner.slots.insert(name, Slot::Value(value));
                }
                None => absent.push(name.as_str()),
            }
        }
        self.calls.push(key);
        if absent.is_empty() {
            self.nodes(&function.node, &mut inner);
        } else {
            self.fault_absent(key.1, &absent);
        }
        self.calls.pop();
        self.depth -= 1;
        self.collect(function.output.iter().map(String::as_str), &inner)
    }

    fn fault_absent(&mut self, function: &str, absent: &[&str]) {
        let text = format!("the call of {function} leaves out {}, which is not supported", absent.join(", "));
        let at = self.build.names.first().map_or(String::new(), |n| n.to_string());
        self.fault(Fault::unsupported(text).at(at));
    }

    /// A subgraph that runs once where its node stands, such as a branch or one turn of a loop, with the values of
    /// its inputs.
    pub fn inline(&mut self, graph: &'m proto::Graph, scope: &Scope<'m, '_>, inputs: &[Value]) -> Result<Vec<Value>, Fault> {
        if graph.input.len() != inputs.len() {
            let text = format!("its body has {} inputs, and is given {}", graph.input.len(), inputs.len());
            return Err(Fault::invalid(text));
        }
        self.descend()?;
        let mut inner =
            Scope { slots: HashMap::new(), parent: Some(scope), bound: scope.bound, opsets: scope.opsets, path: scope.path.clone() };
        for (info, value) in graph.input.iter().zip(inputs) {
            inner.slots.insert(info.name.as_deref().unwrap_or(""), Slot::Value(value.clone()));
        }
        self.initializers(graph, &mut inner);
        self.nodes(&graph.node, &mut inner);
        self.depth -= 1;
        let names = graph.output.iter().map(|o| o.name.as_deref().unwrap_or(""));
        match self.collect(names, &inner) {
            Ok(values) => Ok(values),
            Err(Some(fault)) => Err(fault),
            Err(None) => Ok(Vec::new()),
        }
    }

    /// How many faults have been found so far.
    pub fn told(&self) -> usize {
        self.faults.len()
    }

    /// Whether all faults from number `first` on say that values do not fit each other: there are some, and none is about what
    /// the model says, or a limit.
    pub fn misfits(&self, first: usize) -> bool {
        let told = &self.faults[first.min(self.faults.len())..];
        !told.is_empty() && !self.stopped && self.untold == 0 && told.iter().all(|fault| fault.kind == Kind::Invalid)
    }

    /// Tells the user what was decided at the present node.
    pub fn note(&mut self, what: &str) {
        let note = match self.build.names.first() {
            Some(node) => format!("{node}: {what}"),
            None => what.to_string(),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Takes back the faults from number `first` on: what was tried is done in another way.
    pub fn untell(&mut self, first: usize) {
        // none was left out before there were so many
        if first < self.build.limits.faults {
            self.untold = 0;
        }
        self.faults.truncate(first);
    }

    /// Gives the faults from number `first` on a help, where they have none.
    pub fn advise(&mut self, first: usize, help: &str) {
        for fault in self.faults.iter_mut().skip(first) {
            fault.help.get_or_insert_with(|| help.to_string());
        }
    }

    /// Counts a turn of a loop against the budget of nodes. Fault: it is used up.
    pub fn turn(&mut self) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > self.build.limits.nodes {
            self.stopped = true;
            return Err(Fault::limit(format!("the model has more than {} nodes, its loops unrolled", self.build.limits.nodes)));
        }
        Ok(())
    }

    fn descend(&mut self) -> Result<(), Fault> {
        if self.depth >= self.build.limits.depth {
            let text = format!("functions and subgraphs are nested more than {} deep", self.build.limits.depth);
            return Err(Fault::limit(text));
        }
        self.depth += 1;
        Ok(())
    }

    /// The values of names. Without a fault in the error, one of them is lost.
    fn collect<'n>(&self, names: impl Iterator<Item = &'n str>, scope: &Scope<'m, '_>) -> Result<Vec<Value>, Option<Fault>> {
        names
            .map(|name| match scope.find(name) {
                Some(Slot::Value(value)) => Ok(value.clone()),
                Some(Slot::Lost) => Err(None),
                None if self.stopped || !self.faults.is_empty() => Err(None),
                None => Err(Some(Fault::invalid(format!("nothing makes the output {name:?} of its body")))),
            })
            .collect()
    }
}

/// A fault of a node with the node's name and operator.
fn placed(mut fault: Fault, node: &proto::Node, index: usize, scope: &Scope) -> Fault {
    // The tensor operators name themselves; the user knows the ONNX one.
    fault.op = node.op_type.clone().filter(|op| !op.is_empty());
    fault.at(format!("{}{}", scope.path, label(node, index)))
}

/// A fault of an input's type, with the first node that reads it: that is where the model needs the type.
fn read_by(mut fault: Fault, name: &str, nodes: &[proto::Node]) -> Fault {
    let reader = nodes.iter().enumerate().find(|(_, node)| node.input.iter().any(|i| i == name));
    if let (Kind::Unsupported, Some((index, node))) = (fault.kind, reader) {
        fault.what = format!("{}; it is read by {:?}", fault.what, label(node, index));
    }
    fault
}

/// The beginning of a name, of names that would be repeated for every node that is inlined.
fn clipped(name: &str) -> &str {
    const LONGEST: usize = 200;
    &name[..name.floor_char_boundary(LONGEST)]
}

/// The default domain has two spellings.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}
