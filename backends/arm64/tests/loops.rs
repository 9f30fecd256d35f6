//! What an innermost loop costs: instructions per multiply-add, counted in the code itself.

use arm64::encode::Code;
use arm64::facts::ARMV8;
use ir::kernel::TileKernel;
use ir::kernel::tile::{At, Operand, P, Stmt, V};

/// Instructions, and multiply-adds among them, from a label to the branch back to it: of the loop with the most of the latter.
fn hottest_loop(code: &Code) -> (usize, usize) {
    let words: Vec<u32> = code.words().collect();
    let is_multiply_add = |word: &&u32| **word & 0xFFC0_B400 == 0x4F80_1000 || **word & 0xFFA0_FC00 == 0x4E20_CC00;
    let loops = words.iter().enumerate().filter_map(|(end, word)| {
        let back = *word & 0xFF80_001F == 0x5480_0001;
        let distance = (*word << 8) as i32 >> 13;
        back.then(|| &words[(end as i32 + distance) as usize..=end])
    });
    // a loop around another has a second branch
    let innermost = loops.filter(|turn| turn.iter().filter(|word| **word & 0xFF80_001F == 0x5480_0001).count() == 1);
    innermost.map(|turn| (turn.len(), turn.iter().filter(is_multiply_add).count())).max_by_key(|(_, fmas)| *fmas).expect("a loop")
}

/// `rows` times `vectors` accumulators; four steps of K per turn: a vector of each row of A, in place, and panels of B.
fn dot(rows: u8, vectors: u8, pitch: i32, steps: i32, registers_of_b: u8) -> TileKernel {
    let at = |p, offset| At { p: P(p), offset };
    let acc = |r: u8, c: u8| V(r * vectors + c);
    let (a, b) = (|r: u8| V(rows * vectors + r), |i: u8| V(rows * vectors + rows + i));
    let mut body: Vec<Stmt> = (0..rows * vectors).map(|v| Stmt::Set { to: V(v), bits: 0 }).collect();
    let mut turn = Vec::new();
    for quarter in 0..steps / 4 {
        turn.extend((0..rows).map(|r| Stmt::Load { to: a(r), at: at(0, r as i32 * pitch + 16 * quarter), lanes: 4 }));
        for k in 0..4 {
            let first = (4 * quarter + k) * vectors as i32;
            // as many steps of B at once as registers hold, so that neighbours pair up
            let (ahead, place) = (registers_of_b / vectors, |i: i32| b((i % registers_of_b as i32) as u8));
            if k % ahead as i32 == 0 {
                let count = vectors as i32 * ahead as i32;
                turn.extend((first..first + count).map(|i| Stmt::Load { to: place(i), at: at(1, 16 * i), lanes: 4 }));
            }
            for r in 0..rows {
                for c in 0..vectors {
                    let lane = Operand::Lane(a(r), k as u8);
                    turn.push(Stmt::MulAdd { acc: acc(r, c), a: place(first + c as i32), b: lane, negate: false });
                }
            }
        }
    }
    turn.push(Stmt::Advance { p: P(0), by: 4 * i64::from(steps) });
    turn.push(Stmt::Advance { p: P(1), by: 16 * i64::from(vectors) * i64::from(steps) });
    body.push(Stmt::Loop { times: 40, body: turn });
    for r in 0..rows {
        body.extend((0..vectors).map(|c| Stmt::Store { from: acc(r, c), at: at(2, 16 * c as i32 + r as i32 * 1024), lanes: 4 }));
    }
    TileKernel { body }
}

#[test]
fn a_dot_loop_has_few_instructions_beside_its_products() {
    for (rows, vectors, steps, registers, most) in [(5, 4, 4, 4, 95), (6, 3, 4, 6, 86), (6, 3, 8, 6, 170), (5, 4, 8, 4, 188)] {
        let code = arm64::compile(&dot(rows, vectors, 2304, steps, registers), 3, &ARMV8);
        let (instructions, fmas) = hottest_loop(&code);
        assert_eq!(fmas, rows as usize * vectors as usize * steps as usize);
        println!("{rows}x{}, {steps} steps: {instructions} / {fmas} = {:.4}", 4 * vectors, instructions as f64 / fmas as f64);
        assert!(instructions <= most, "{rows}x{}: {instructions} instructions for {fmas} multiply-adds", 4 * vectors);
    }
}
