//! Where each symbol lies within its section: in the order of the code, each at its alignment. It refuses to know addresses
//! and file offsets.

use crate::{Code, Section};

/// Offsets and extents in bytes.
#[derive(Debug)]
pub(crate) struct Layout {
    /// By symbol: its offset in its section.
    pub offsets: Vec<u64>,
    sizes: [u64; 3],
    aligns: [u64; 3],
}

impl Layout {
    pub(crate) fn new(code: &Code) -> Layout {
        let mut layout = Layout { offsets: Vec::with_capacity(code.symbols.len()), sizes: [0; 3], aligns: [1; 3] };
        for symbol in &code.symbols {
            let (slot, align) = (slot(symbol.section), u64::from(symbol.align));
            let offset = layout.sizes[slot].next_multiple_of(align);
            layout.offsets.push(offset);
            layout.sizes[slot] = offset + symbol.content.size();
            layout.aligns[slot] = layout.aligns[slot].max(align);
        }
        layout
    }

    pub(crate) fn size(&self, section: Section) -> u64 {
        self.sizes[slot(section)]
    }

    pub(crate) fn align(&self, section: Section) -> u64 {
        self.aligns[slot(section)]
    }
}

/// The place of a section in tables by section.
pub(crate) fn slot(section: Section) -> usize {
    match section {
        Section::Text => 0,
        Section::ReadOnly => 1,
        Section::RelocatedReadOnly => 2,
    }
}
