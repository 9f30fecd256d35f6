//! Fingerprints of modules and weights, by which a script tells the files of its own compilation from others. `model.mjs` computes
//! the same. They tell accidents, and are no protection against anybody who wants to deceive.

const PRIME: u32 = 0x9e37_79b1;

/// Bytes on their way to a fingerprint: little-endian words of 32 bits, the even ones and the odd ones each mixed into half of it.
#[derive(Clone, Debug)]
pub struct Print {
    /// Which words of each line of 16 count: the first so many.
    counted: usize,
    halves: [u32; 2],
    words: usize,
    /// Bytes of a word that is not complete.
    rest: Vec<u8>,
}

impl Print {
    /// Of every byte.
    pub fn whole() -> Print {
        Print { counted: 16, halves: [1, 2], words: 0, rest: Vec::new() }
    }

    /// Of the first 8 bytes of every 64, which takes a script 3 ms per 100 MB where every byte takes 35. Training moves all
    /// weights; what begins at a multiple of 64, as large constants do, is looked at even if it is small.
    pub fn sample() -> Print {
        Print { counted: 2, ..Print::whole() }
    }

    /// Of these bytes.
    pub fn of(mut self, bytes: &[u8]) -> u64 {
        self.push(bytes);
        self.finish()
    }

    /// Takes what comes next, of any length.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !self.rest.is_empty() {
            let Some((first, others)) = bytes.split_first() else { return };
            self.rest.push(*first);
            bytes = others;
            if let Ok(word) = self.rest[..].try_into() {
                self.word(word);
                self.rest.clear();
            }
        }
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.word(*word));
        self.rest.extend(rest);
    }

    /// Zeros complete the last word.
    pub fn finish(mut self) -> u64 {
        if !self.rest.is_empty() {
            self.rest.resize(4, 0);
            self.word(self.rest[..].try_into().expect("it was resized"));
        }
        u64::from(self.halves[0]) << 32 | u64::from(self.halves[1])
    }

    fn word(&mut self, word: [u8; 4]) {
        if self.words % 16 < self.counted {
            let half = &mut self.halves[self.words % 2];
            // each step is a bijection, so that no single change is lost
            *half = (*half ^ u32::from_le_bytes(word)).wrapping_mul(PRIME);
            *half ^= *half >> 15;
        }
        self.words += 1;
    }
}

/// The name of the custom section that carries a module's fingerprint.
const SECTION: &str = "maquette";

/// Puts the fingerprint of a module at its end, where the script looks for it, and returns it.
pub fn seal(module: &mut Vec<u8>) -> u64 {
    let print = Print::whole().of(module);
    module.extend([0, (1 + SECTION.len() + 8) as u8, SECTION.len() as u8]);
    module.extend(SECTION.as_bytes());
    module.extend(print.to_be_bytes());
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter_but_every_byte_and_its_place_does() {
        let bytes: Vec<u8> = (0..=50).collect();
        let whole = Print::whole().of(&bytes);
        for piece in 1..9 {
            let mut print = Print::whole();
            bytes.chunks(piece).for_each(|bytes| print.push(bytes));
            assert_eq!(print.finish(), whole);
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 128;
            assert_ne!(Print::whole().of(&other), whole, "byte {at}");
            other[(at + 8) % bytes.len()] ^= 128;
            assert_ne!(Print::whole().of(&other), whole, "two signs");
        }
        let mut other = bytes.clone();
        other.swap(3, 11);
        assert_ne!(Print::whole().of(&other), whole);
    }

    #[test]
    fn a_sample_looks_at_the_beginning_of_every_line() {
        let bytes = [7; 200];
        for at in 0..bytes.len() {
            let mut other = bytes;
            other[at] = 8;
            assert_eq!(Print::sample().of(&other) != Print::sample().of(&bytes), at % 64 < 8, "byte {at}");
        }
    }
}
