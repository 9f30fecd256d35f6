//! What is wrong with something that a user gave us, as data. Faults are collected, never only the
//! first; our own mistakes are panics instead.

use std::fmt;

/// Whose mistake it is; the driver turns it into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The command line or the API was used wrongly: exit 2.
    Usage,
    /// The model breaks the rules of its format: exit 3.
    Invalid,
    /// The model is right, but we cannot compile it: exit 4.
    Unsupported,
    /// A budget (elements, bytes, nodes, nesting) is exceeded: exit 5.
    Limit,
    /// A file or external data cannot be read: exit 6.
    File,
}

/// One thing that is wrong: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// The ONNX name of the node, tensor or file at fault, where there is one.
    pub node: Option<String>,
    /// The operator of that node.
    pub op: Option<String>,
    pub what: String,
    /// What the user can do about it.
    pub help: Option<String>,
    /// Inputs of the model that would have to be constants.
    pub inputs: Box<[String]>,
}

impl Fault {
    pub fn new(kind: Kind, what: impl Into<String>) -> Fault {
        Fault { kind, node: None, op: None, what: what.into(), help: None, inputs: Box::default() }
    }
    pub fn usage(what: impl Into<String>) -> Fault {
        Fault::new(Kind::Usage, what)
    }
    pub fn invalid(what: impl Into<String>) -> Fault {
        Fault::new(Kind::Invalid, what)
    }
    pub fn unsupported(what: impl Into<String>) -> Fault {
        Fault::new(Kind::Unsupported, what)
    }
    pub fn limit(what: impl Into<String>) -> Fault {
        Fault::new(Kind::Limit, what)
    }
    pub fn file(what: impl Into<String>) -> Fault {
        Fault::new(Kind::File, what)
    }
    /// Names the node, unless one is named already.
    pub fn at(mut self, node: impl Into<String>) -> Fault {
        self.node.get_or_insert_with(|| node.into());
        self
    }
    /// Names the operator, unless one is named already.
    pub fn op(mut self, op: impl Into<String>) -> Fault {
        self.op.get_or_insert_with(|| op.into());
        self
    }
    /// Names the inputs that would have to be constants.
    pub fn of_inputs(mut self, names: impl IntoIterator<Item = String>) -> Fault {
        self.inputs = names.into_iter().collect();
        self
    }
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.node, &self.op) {
            (Some(node), Some(op)) => write!(f, "{op} \"{node}\": ")?,
            (Some(node), None) => write!(f, "\"{node}\": ")?,
            (None, Some(op)) => write!(f, "{op}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.what)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
