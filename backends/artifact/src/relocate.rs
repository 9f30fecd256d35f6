//! An address into the bytes that want it. It refuses to know who chose the address.
//! After: System V ABI AMD64 supplement 1.0, section 4.4; ELF for the Arm 64-bit Architecture 2024Q3, section 5.7.

use crate::{Fault, Relocation, RelocationKind};

/// Completes `bytes` (those of the owning symbol) at `relocation`. `place` is the address of the symbol that owns it,
/// `target` that of the symbol it names. Fault: the distance does not fit.
pub(crate) fn apply(bytes: &mut [u8], relocation: &Relocation, place: u64, target: u64) -> Result<(), Fault> {
    let at = relocation.offset as usize;
    let place = place.wrapping_add(u64::from(relocation.offset)) as i64;
    let value = (target as i64).wrapping_add(relocation.addend);
    let far = || Fault::TooLarge(format!("`{}` is {} bytes from where it is used", relocation.symbol, value.wrapping_sub(place)));
    match relocation.kind {
        RelocationKind::Abs64 => bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()),
        RelocationKind::X86Pc32 => {
            let distance = i32::try_from(value.wrapping_sub(place)).map_err(|_| far())?;
            bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        RelocationKind::Aarch64Call26 => {
            let words = signed(value.wrapping_sub(place), 28).filter(|d| d % 4 == 0).ok_or_else(far)? >> 2;
            instruction(bytes, at, 0x03ff_ffff, words as u32);
        }
        RelocationKind::Aarch64AdrPage21 => {
            let pages = signed((value >> 12).wrapping_sub(place >> 12), 21).ok_or_else(far)? as u32;
            instruction(bytes, at, 0x60ff_ffe0, (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5);
        }
        RelocationKind::Aarch64AddLo12 => instruction(bytes, at, 0x003f_fc00, (value as u32 & 0xfff) << 10),
    }
    Ok(())
}

fn signed(value: i64, bits: u32) -> Option<i64> {
    let half = 1i64 << (bits - 1);
    (-half..half).contains(&value).then_some(value)
}

fn instruction(bytes: &mut [u8], at: usize, mask: u32, field: u32) {
    let word = &mut bytes[at..at + 4];
    let old = u32::from_le_bytes(word.try_into().expect("four bytes"));
    word.copy_from_slice(&(old & !mask | field & mask).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(kind: RelocationKind, old: u32, place: u64, target: u64, addend: i64) -> Result<u32, Fault> {
        let mut bytes = old.to_le_bytes().to_vec();
        apply(&mut bytes, &Relocation { offset: 0, kind, symbol: "s".into(), addend }, place, target)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    #[test]
    fn fields_are_filled_and_their_limits_kept() {
        use RelocationKind::*;
        let ok = |r: Result<u32, Fault>| r.expect("fits");
        assert_eq!(ok(word(X86Pc32, 7, 0x1000, 0x2000, -4)), 0xffc);
        assert_eq!(ok(word(X86Pc32, 0, 0x2000, 0x1000, -4)), (-0x1004i32) as u32);
        assert!(word(X86Pc32, 0, 0, 1 << 31, 0).is_err() && word(X86Pc32, 0, 0, 1 << 31, -1).is_ok());
        assert_eq!(ok(word(Aarch64Call26, 0x9400_0000, 0x1000, 0xff8, 0)), 0x97ff_fffe);
        assert!(word(Aarch64Call26, 0x9400_0000, 0, 1 << 27, 0).is_err());
        assert!(word(Aarch64Call26, 0x9400_0000, 0, 2, 0).is_err());
        // adrp x3, two pages on: immlo 2, immhi 0; one page back: all ones.
        assert_eq!(ok(word(Aarch64AdrPage21, 0x9000_0003, 0x1ffc, 0x3000, 4)), 0xd000_0003);
        assert_eq!(ok(word(Aarch64AdrPage21, 0x9000_0003, 0x2000, 0x1fff, 0)), 0xf0ff_ffe3);
        assert!(word(Aarch64AdrPage21, 0x9000_0003, 0, 1 << 32, 0).is_err());
        assert_eq!(ok(word(Aarch64AddLo12, 0x9100_0000, 0, 0x5123, 1)), 0x9100_0000 | 0x124 << 10);
    }
}
