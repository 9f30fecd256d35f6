//! The attributes of one ONNX node: typed access with defaults, references of functions resolved, and a
//! record of what was looked at, so that an attribute no importer knows is a fault and not silence.
//! It refuses to know any operator.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::proto::{self, attribute_kind as kind};
use ir::Fault;

/// What the attributes of a function's call are called inside its body.
pub type Bound<'m> = BTreeMap<String, &'m proto::Attribute>;

/// The attributes of one node.
pub struct Attrs<'m> {
    map: BTreeMap<&'m str, &'m proto::Attribute>,
    seen: RefCell<BTreeSet<&'m str>>,
}

impl<'m> Attrs<'m> {
    /// Fault: an attribute without a name, given twice, or that refers to a function's attribute outside one.
    pub fn new(node: &'m proto::Node, bound: Option<&Bound<'m>>) -> Result<Self, Fault> {
        let mut map = BTreeMap::new();
        for attribute in &node.attribute {
            let name = attribute.name.as_deref().unwrap_or("");
            if name.is_empty() {
                return Err(Fault::invalid("an attribute has no name"));
            }
            let reference = attribute.ref_attr_name.as_deref().unwrap_or("");
            let actual = match (reference, bound) {
                ("", _) => Some(attribute),
                (_, None) => {
                    return Err(Fault::invalid(format!(
                        "attribute {name:?} refers to {reference:?}, which only the body of a function may do"
                    )));
                }
                // A reference to an attribute that the call leaves out leaves this one out too.
                (reference, Some(bound)) => bound.get(reference).copied(),
            };
            if let Some(actual) = actual
                && map.insert(name, actual).is_some()
            {
                return Err(Fault::invalid(format!("attribute {name:?} is given twice")));
            }
        }
        Ok(Attrs { map, seen: RefCell::default() })
    }

    /// Every attribute by name; for calls of functions.
    pub fn all(&self) -> impl Iterator<Item = (&'m str, &'m proto::Attribute)> {
        self.seen.borrow_mut().extend(self.map.keys());
        self.map.iter().map(|(name, attribute)| (*name, *attribute))
    }

    /// The attributes that nobody asked for.
    pub fn unseen(&self) -> Vec<&'m str> {
        let seen = self.seen.borrow();
        self.map.keys().filter(|name| !seen.contains(*name)).copied().collect()
    }

    /// Marks attributes that are legal and change nothing here.
    pub fn ignore(&self, names: &[&str]) {
        for name in names {
            self.find(name);
        }
    }

    fn find(&self, name: &str) -> Option<&'m proto::Attribute> {
        let (name, attribute) = self.map.get_key_value(name)?;
        self.seen.borrow_mut().insert(name);
        Some(attribute)
    }

    fn typed(&self, name: &str, wanted: i32) -> Result<Option<&'m proto::Attribute>, Fault> {
        let Some(attribute) = self.find(name) else { return Ok(None) };
        let got = kind_of(attribute);
        // A list that holds nothing looks like any other empty list in files that do not say the kind.
        if got == wanted || got == kind::UNDEFINED {
            Ok(Some(attribute))
        } else {
            Err(Fault::invalid(format!("attribute {name:?} is {}, and must be {}", kind_name(got), kind_name(wanted))))
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, Fault> {
        Ok(self.typed(name, kind::INT)?.map(|a| a.i.unwrap_or(0)))
    }

    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Fault> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// A whole number that stands for yes (1) or no (0).
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Fault> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, Fault> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub fn float(&self, name: &str) -> Result<Option<f32>, Fault> {
        Ok(self.typed(name, kind::FLOAT)?.map(|a| a.f.unwrap_or(0.0)))
    }

    pub fn ints(&self, name: &str) -> Result<Option<&'m [i64]>, Fault> {
        Ok(self.typed(name, kind::INTS)?.map(|a| a.ints.as_slice()))
    }

    pub fn floats(&self, name: &str) -> Result<Option<&'m [f32]>, Fault> {
        Ok(self.typed(name, kind::FLOATS)?.map(|a| a.floats.as_slice()))
    }

    pub fn text(&self, name: &str) -> Result<Option<&'m str>, Fault> {
        let Some(attribute) = self.typed(name, kind::STRING)? else { return Ok(None) };
        let bytes = attribute.s.as_deref().unwrap_or(&[]);
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Fault::invalid(format!("attribute {name:?} is not UTF-8 text"))),
        }
    }

    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(attribute) = self.typed(name, kind::STRINGS)? else { return Ok(None) };
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(Fault::invalid(format!("attribute {name:?} is not UTF-8 text"))),
        };
        attribute.strings.iter().map(|bytes| text(bytes)).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// One of a few words. Fault: any other word, with the ones that exist.
    pub fn choice<T: Copy>(&self, name: &str, default: T, choices: &[(&str, T)]) -> Result<T, Fault> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(Fault::invalid(format!("attribute {name:?} is {text:?}, and must be one of {}", words.join(", "))))
            }
        }
    }

    pub fn tensor(&self, name: &str) -> Result<Option<&'m proto::Tensor>, Fault> {
        match self.typed(name, kind::TENSOR)? {
            None => Ok(None),
            Some(proto::Attribute { t: Some(tensor), .. }) => Ok(Some(tensor)),
            Some(_) => Err(Fault::invalid(format!("attribute {name:?} holds no tensor"))),
        }
    }

    pub fn sparse(&self, name: &str) -> Result<Option<&'m proto::SparseTensor>, Fault> {
        match self.typed(name, kind::SPARSE_TENSOR)? {
            None => Ok(None),
            Some(proto::Attribute { sparse_tensor: Some(tensor), .. }) => Ok(Some(tensor)),
            Some(_) => Err(Fault::invalid(format!("attribute {name:?} holds no sparse tensor"))),
        }
    }

    pub fn graph(&self, name: &str) -> Result<Option<&'m proto::Graph>, Fault> {
        match self.typed(name, kind::GRAPH)? {
            None => Ok(None),
            Some(proto::Attribute { g: Some(graph), .. }) => Ok(Some(graph)),
            Some(_) => Err(Fault::invalid(format!("attribute {name:?} holds no graph"))),
        }
    }
}

/// The kind that a file states, or the one its contents show: early files state none.
fn kind_of(attribute: &proto::Attribute) -> i32 {
    match attribute.kind {
        Some(stated) if stated != kind::UNDEFINED => stated,
        _ if attribute.f.is_some() => kind::FLOAT,
        _ if attribute.i.is_some() => kind::INT,
        _ if attribute.s.is_some() => kind::STRING,
        _ if attribute.t.is_some() => kind::TENSOR,
        _ if attribute.g.is_some() => kind::GRAPH,
        _ if attribute.sparse_tensor.is_some() => kind::SPARSE_TENSOR,
        _ if !attribute.floats.is_empty() => kind::FLOATS,
        _ if !attribute.ints.is_empty() => kind::INTS,
        _ if !attribute.strings.is_empty() => kind::STRINGS,
        _ if !attribute.tensors.is_empty() => kind::TENSORS,
        _ if !attribute.graphs.is_empty() => kind::GRAPHS,
        _ => kind::UNDEFINED,
    }
}

fn kind_name(value: i32) -> &'static str {
    match value {
        kind::FLOAT => "a number",
        kind::INT => "a whole number",
        kind::STRING => "a text",
        kind::TENSOR => "a tensor",
        kind::GRAPH => "a graph",
        kind::FLOATS => "a list of numbers",
        kind::INTS => "a list of whole numbers",
        kind::STRINGS => "a list of texts",
        kind::TENSORS => "a list of tensors",
        kind::GRAPHS => "a list of graphs",
        kind::SPARSE_TENSOR => "a sparse tensor",
        kind::SPARSE_TENSORS => "a list of sparse tensors",
        kind::TYPE_PROTO => "a type",
        kind::TYPE_PROTOS => "a list of types",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attribute: Vec<proto::Attribute>) -> proto::Node {
        proto::Node { attribute, ..proto::Node::default() }
    }

    fn int(name: &str, i: i64) -> proto::Attribute {
        proto::Attribute { name: Some(name.into()), i: Some(i), kind: Some(kind::INT), ..proto::Attribute::default() }
    }

    #[test]
    fn what_nobody_asks_for_is_remembered() {
        let node = node(vec![int("axis", 1), int("frobnicate", 2)]);
        let attrs = Attrs::new(&node, None).expect("both have names");
        assert_eq!(attrs.int_or("axis", 0), Ok(1));
        assert_eq!(attrs.int_or("other", 5), Ok(5));
        assert_eq!(attrs.unseen(), ["frobnicate"]);
    }

    #[test]
    fn twice_nameless_and_stray_references_are_faults() {
        assert!(Attrs::new(&node(vec![int("a", 1), int("a", 1)]), None).is_err());
        assert!(Attrs::new(&node(vec![int("", 1)]), None).is_err());
        let stray = proto::Attribute { ref_attr_name: Some("x".into()), ..int("a", 1) };
        assert!(Attrs::new(&node(vec![stray]), None).is_err());
    }

    #[test]
    fn references_take_what_the_call_gave() {
        let given = int("alpha", 9);
        let bound: Bound = [("alpha".to_string(), &given)].into();
        let inner = proto::Attribute { i: None, ref_attr_name: Some("alpha".into()), ..int("axis", 0) };
        let absent = proto::Attribute { ref_attr_name: Some("beta".into()), ..int("other", 0) };
        let node = node(vec![inner, absent]);
        let attrs = Attrs::new(&node, Some(&bound)).expect("references are allowed here");
        assert_eq!(attrs.int_or("axis", 0), Ok(9));
        assert!(!attrs.has("other"));
    }

    #[test]
    fn a_wrong_kind_is_named() {
        let node = node(vec![int("axis", 1)]);
        let attrs = Attrs::new(&node, None).expect("it has a name");
        let fault = attrs.text("axis").expect_err("an int is no text");
        assert!(fault.what.contains("axis") && fault.what.contains("a whole number"), "{}", fault.what);
    }
}
