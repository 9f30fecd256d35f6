//! The loops of finished code, read from the code itself: what tests and benchmarks count. It knows three instructions.

use crate::encode::Code;

/// Whether it is a multiply-add of vectors, whole or by element.
pub fn is_multiply_add(word: u32) -> bool {
    const BY_ELEMENT: u32 = 0x4F80_1000;
    const WHOLE: u32 = 0x4E20_CC00;
    word & 0xFFC0_B400 == BY_ELEMENT || word & 0xFFA0_FC00 == WHOLE
}

/// Words to the target of a conditional branch, if it is one and goes back.
fn back(word: u32) -> Option<usize> {
    const NOT_EQUAL: u32 = 0x5400_0001;
    let distance = (word << 8) as i32 >> 13;
    (word & 0xFF00_001F == NOT_EQUAL && distance < 0).then_some(distance.unsigned_abs() as usize)
}

/// The innermost loop with the most multiply-adds, from its first instruction to the branch back; empty when there is no loop.
pub fn hottest(code: &Code) -> Vec<u32> {
    let words: Vec<u32> = code.words().collect();
    let loops = words.iter().enumerate().filter_map(|(end, word)| back(*word).map(|distance| &words[end - distance..=end]));
    let innermost = loops.filter(|turn| turn.iter().filter(|word| back(**word).is_some()).count() == 1);
    let hottest = innermost.max_by_key(|turn| turn.iter().filter(|word| is_multiply_add(**word)).count());
    hottest.map(<[u32]>::to_vec).unwrap_or_default()
}
