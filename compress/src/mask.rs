//! Which weights go: the least in magnitude, one by one or in blocks that a machine can skip together.

/// What goes together. Rows are output channels, columns inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Each weight by itself.
    Single,
    /// The weights of four rows for one input.
    FourRows,
    /// The weights of one row for four neighbouring inputs.
    FourColumns,
}

impl Pattern {
    /// Rows of a block.
    pub fn tall(self) -> usize {
        match self {
            Pattern::FourRows => 4,
            Pattern::Single | Pattern::FourColumns => 1,
        }
    }

    /// Columns of a block.
    pub fn wide(self) -> usize {
        match self {
            Pattern::FourColumns => 4,
            Pattern::Single | Pattern::FourRows => 1,
        }
    }
}

/// Which weights of `[rows][k]` stay, when a share of `sparsity` of them goes; `importance`: of each of the `k` inputs. A block at an
/// edge may have fewer members, and is judged by their mean.
pub fn mask(weights: &[f32], k: usize, importance: &[f32], pattern: Pattern, sparsity: f64) -> Vec<bool> {
    let rows = weights.len() / k.max(1);
    let (tall, wide) = (pattern.tall(), pattern.wide());
    let mut blocks: Vec<(f64, usize, usize, usize)> = Vec::new();
    for top in (0..rows).step_by(tall) {
        for left in (0..k).step_by(wide) {
            let (mut sum, mut members) = (0.0, 0);
            for r in top..rows.min(top + tall) {
                for c in left..k.min(left + wide) {
                    sum += f64::from(weights[r * k + c]).powi(2) * f64::from(importance[c]);
                    members += 1;
                }
            }
            blocks.push((sum / members as f64, top, left, members));
        }
    }
    without(blocks, (rows, k), pattern, sparsity)
}

/// What stays of `[rows][k]` when blocks go, the cheapest first, until a share of `sparsity` is gone. Of each block: its cost,
/// row and column, and how many weights it has.
pub(crate) fn without(
    mut blocks: Vec<(f64, usize, usize, usize)>,
    (rows, k): (usize, usize),
    pattern: Pattern,
    sparsity: f64,
) -> Vec<bool> {
    blocks.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    let mut keep = vec![true; rows * k];
    let goal = keep.len() as f64 * sparsity;
    let mut gone = 0;
    for (_, top, left, members) in blocks {
        if (gone + members) as f64 > goal + 1e-9 {
            break;
        }
        gone += members;
        for row in top..rows.min(top + pattern.tall()) {
            keep[row * k + left..row * k + k.min(left + pattern.wide())].fill(false);
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(keep: &[bool]) -> f64 {
        keep.iter().filter(|k| !**k).count() as f64 / keep.len() as f64
    }

    #[test]
    fn the_least_go_and_no_more_than_asked() {
        let weights: Vec<f32> = (0..80).map(|i| ((i * 31) % 80) as f32 - 40.0).collect();
        let keep = mask(&weights, 8, &[1.0; 8], Pattern::Single, 0.75);
        assert_eq!(share(&keep), 0.75);
        let least_kept = weights.iter().zip(&keep).filter(|(_, k)| **k).map(|(w, _)| w.abs()).fold(f32::INFINITY, f32::min);
        assert!(weights.iter().zip(&keep).all(|(w, k)| *k || w.abs() <= least_kept));
        assert!(mask(&weights, 8, &[1.0; 8], Pattern::Single, 0.0).iter().all(|k| *k));
    }

    #[test]
    fn blocks_go_whole_and_edges_have_fewer_members() {
        let weights: Vec<f32> = (0..60).map(|i| ((i * 17) % 61) as f32).collect();
        // 10 rows of 6: the last block of four rows has two
        let keep = mask(&weights, 6, &[1.0; 6], Pattern::FourRows, 0.5);
        for top in [0, 4, 8] {
            for c in 0..6 {
                assert!((top..10.min(top + 4)).all(|r| keep[r * 6 + c] == keep[top * 6 + c]));
            }
        }
        assert!((0.4..=0.5).contains(&share(&keep)), "{}", share(&keep));
        let keep = mask(&weights, 6, &[1.0; 6], Pattern::FourColumns, 0.5);
        assert!((0..10).all(|r| keep[r * 6..][..4].iter().all(|k| *k == keep[r * 6]) && keep[r * 6 + 4] == keep[r * 6 + 5]));
    }

    #[test]
    fn an_input_that_is_never_there_goes_first() {
        let keep = mask(&[9.0, 1.0, 9.0, 1.0], 2, &[0.0, 1.0], Pattern::Single, 0.5);
        assert_eq!(keep, [false, true, false, true]);
    }
}
