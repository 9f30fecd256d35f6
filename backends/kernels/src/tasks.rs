//! How work is cut into calls that run at once on several workers: as many as it is worth, of equal size where that
//! goes. A piece is the same kernel from another place on. Which axis is cut, the operators know.

/// What is cut at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// Calls that a step is cut into at most: a few for each worker, so that none waits long for the last.
    pub most: u64,
    /// Multiply-adds, or steps of about that effort, that are worth a call of their own.
    pub steps: u64,
    /// Bytes moved that are.
    pub bytes: u64,
}

impl Default for Tasks {
    /// Some microseconds for each call.
    fn default() -> Tasks {
        Tasks { most: 16, steps: 100_000, bytes: 64 << 10 }
    }
}

/// Pieces that are enough: more of them are worth less than equal ones.
const ENOUGH: usize = 8;

impl Tasks {
    /// Calls that so much work is worth; 1 when it is not worth cutting.
    pub fn worth(self, steps: u64, bytes: u64) -> usize {
        (steps / self.steps).max(bytes / self.bytes).clamp(1, self.most) as usize
    }
}

/// `total` as pieces of a multiple of `unit`, the last as long as it comes out: at most `most` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub count: usize,
    pub size: usize,
    /// What the last piece has, where it is shorter.
    pub rest: usize,
}

impl Cut {
    pub const fn whole(total: usize) -> Cut {
        Cut { count: 1, size: total, rest: 0 }
    }

    pub fn pieces(&self) -> usize {
        self.count + usize::from(self.rest > 0)
    }

    /// Where each piece starts, and its size.
    pub fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let rest = (self.rest > 0).then_some((self.count * self.size, self.rest));
        let size = self.size;
        (0..self.count).map(move |i| (i * size, size)).chain(rest)
    }

    /// How good it is: enough pieces, equal ones, many.
    pub fn rank(&self) -> (usize, bool, usize) {
        (self.pieces().min(ENOUGH), self.rest == 0, self.pieces())
    }
}

/// The best cut, among those that `may` be.
pub fn cut(total: usize, unit: usize, most: usize, may: impl Fn(&Cut) -> bool) -> Cut {
    let units = total.div_ceil(unit);
    let of = |count: usize| {
        let size = units.div_ceil(count) * unit;
        Cut { count: total / size, size, rest: total % size }
    };
    let all = (2..=most.min(units)).map(of).filter(|c| c.pieces() > 1 && may(c));
    all.max_by_key(Cut::rank).unwrap_or(Cut::whole(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_equal_where_they_can_be() {
        let any = |_: &Cut| true;
        assert_eq!(cut(56, 1, 16, any), Cut { count: 14, size: 4, rest: 0 });
        assert_eq!(cut(3136, 14, 16, any), Cut { count: 16, size: 196, rest: 0 });
        assert_eq!(cut(29, 1, 16, any), Cut { count: 14, size: 2, rest: 1 });
        assert_eq!(cut(7, 1, 3, any), Cut { count: 2, size: 3, rest: 1 });
        assert_eq!(cut(5, 8, 16, any), Cut::whole(5));
        for total in 1..200 {
            let cut = cut(total, 3, 11, any);
            assert!(cut.pieces() <= 11 && cut.each().map(|p| p.1).sum::<usize>() == total, "{cut:?}");
        }
    }

    #[test]
    fn little_work_stays_one_call() {
        let worth = |steps, bytes| Tasks::default().worth(steps, bytes);
        assert_eq!((worth(0, 0), worth(199_999, 0), worth(200_000, 0), worth(0, 1 << 30)), (1, 1, 2, 16));
    }
}
