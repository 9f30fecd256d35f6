//! The loops of finished code, read from the code itself: what tests and benchmarks count. It knows those that
//! multiply, and one branch.

use crate::encode::Code;

/// How many products a vector instruction adds up, or is about to: 4 of floats; of bytes 8, 16 or 32.
pub fn products(word: u32) -> u32 {
    /// The bits that are fixed, what they are, and the products.
    const FORMS: [(u32, u32, u32); 8] = [
        // fmla and fmls by element, and whole
        (0xFFC0_B400, 0x4F80_1000, 4),
        (0xFFA0_FC00, 0x4E20_CC00, 4),
        // smull, smlal, and those of the high halves
        (0xBFE0_FC00, 0x0E20_C000, 8),
        (0xBFE0_FC00, 0x0E20_8000, 8),
        // sdot by element, and whole
        (0xFFC0_F400, 0x4F80_E000, 16),
        (0xFFE0_FC00, 0x4E80_9400, 16),
        // smmla, usmmla
        (0xFFE0_FC00, 0x4E80_A400, 32),
        (0xFFE0_FC00, 0x4E80_AC00, 32),
    ];
    FORMS.iter().find(|(mask, bits, _)| word & mask == *bits).map_or(0, |(_, _, products)| *products)
}

/// Whether it is a multiply-add of vectors, of floats or of bytes.
pub fn is_multiply_add(word: u32) -> bool {
    products(word) > 0
}

/// Words to the target of a conditional branch, if it is one and goes back.
fn back(word: u32) -> Option<usize> {
    const NOT_EQUAL: u32 = 0x5400_0001;
    let distance = (word << 8) as i32 >> 13;
    (word & 0xFF00_001F == NOT_EQUAL && distance < 0).then_some(distance.unsigned_abs() as usize)
}

/// The innermost loop with the most products, from its first instruction to the branch back; empty when there is no loop.
pub fn hottest(code: &Code) -> Vec<u32> {
    let words: Vec<u32> = code.words().collect();
    let loops = words.iter().enumerate().filter_map(|(end, word)| back(*word).map(|distance| &words[end - distance..=end]));
    let innermost = loops.filter(|turn| turn.iter().filter(|word| back(**word).is_some()).count() == 1);
    let hottest = innermost.max_by_key(|turn| turn.iter().map(|word| products(*word)).sum::<u32>());
    hottest.map(<[u32]>::to_vec).unwrap_or_default()
}
