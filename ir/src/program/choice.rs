//! What a generator had to choose from, and what it took: kept beside the steps, for people and for whoever measures. It
//! changes nothing that a program does.

/// One way to compute something.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Short, one word, the same for the same way: `direct`, `winograd_4x4`.
    pub name: String,
    /// Predicted time on one core.
    pub seconds: f64,
    /// Code that it takes, where that is worth counting.
    pub code_bytes: u64,
    /// What speaks for or against it.
    pub why: String,
}

impl Candidate {
    pub fn new(name: impl Into<String>, seconds: f64) -> Candidate {
        Candidate { name: name.into(), seconds, code_bytes: 0, why: String::new() }
    }
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The prediction.
    Predicted,
    /// What was learned by measurement.
    Tuned,
    /// What was learned names none of the candidates; so the prediction.
    Unknown,
}

/// A choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The first step that it shaped.
    pub step: usize,
    /// What was computed, by its shape: equal keys have equal candidates.
    pub key: String,
    pub candidates: Vec<Candidate>,
    /// Index of the one that was taken.
    pub chosen: usize,
    pub verdict: Verdict,
}

impl Choice {
    pub fn taken(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }
}
