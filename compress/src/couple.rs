//! Which channels of which values are one and the same: a residual sum ties the channels of its operands, a depthwise convolution those
//! of what it reads and writes, a concatenation puts them side by side. Channels are told apart one by one, so that any of these is a
//! list of ties. It knows values and axes by number, not operators.

use std::collections::BTreeMap;

/// An axis of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    pub value: usize,
    pub axis: usize,
}

/// Channels of sites that live or go together.
pub type Set = Vec<(Site, usize)>;

/// Channels of sites, joined where they must live or go together.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    /// Where the channels of a site begin, and how many there are.
    sites: BTreeMap<Site, (usize, usize)>,
    /// Of each channel, one that it is joined with: itself, where it speaks for all.
    parent: Vec<usize>,
    /// Channels, by who speaks for them, that must stay.
    barred: Vec<bool>,
}

/// Channels that go together, and many of which are alike: they touch the same sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Sites that its channels touch.
    pub sites: Vec<Site>,
    /// For each set of tied channels, where it lies.
    pub sets: Vec<Set>,
    /// Whether all of its sets must stay.
    pub barred: bool,
}

impl Channels {
    /// Makes an axis known. Of one that is known already the size must be the same.
    pub fn site(&mut self, site: Site, size: usize) {
        let next = self.parent.len();
        let (_, known) = *self.sites.entry(site).or_insert((next, size));
        assert_eq!(known, size, "one size for {site:?}");
        if self.parent.len() == next && self.sites[&site].0 == next {
            self.parent.extend(next..next + size);
            self.barred.extend(std::iter::repeat_n(false, size));
        }
    }

    pub fn size(&self, site: Site) -> Option<usize> {
        self.sites.get(&site).map(|(_, size)| *size)
    }

    fn speaker(&mut self, channel: usize) -> usize {
        let mut at = channel;
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    /// Ties a channel of one axis with a channel of another. Both axes are known.
    pub fn join(&mut self, a: (Site, usize), b: (Site, usize)) {
        let (a, b) = (self.sites[&a.0].0 + a.1, self.sites[&b.0].0 + b.1);
        let (a, b) = (self.speaker(a), self.speaker(b));
        let (low, high) = (a.min(b), a.max(b));
        self.parent[high] = low;
        self.barred[low] |= self.barred[high];
    }

    /// Ties all channels of two axes of one size, one by one.
    pub fn same(&mut self, a: Site, b: Site) {
        let size = self.sites[&a].1.min(self.sites[&b].1);
        (0..size).for_each(|i| self.join((a, i), (b, i)));
    }

    /// All channels of an axis must stay.
    pub fn bar(&mut self, site: Site) {
        let Some(&(start, size)) = self.sites.get(&site) else { return };
        for channel in start..start + size {
            let speaker = self.speaker(channel);
            self.barred[speaker] = true;
        }
    }

    /// The sets of tied channels, those that touch the same axes equally often together. In the order of their first channels.
    pub fn bundles(&mut self) -> Vec<Bundle> {
        let mut sets: BTreeMap<usize, Set> = BTreeMap::new();
        let sites: Vec<(Site, (usize, usize))> = self.sites.iter().map(|(s, at)| (*s, *at)).collect();
        for (site, (start, size)) in sites {
            for i in 0..size {
                let speaker = self.speaker(start + i);
                sets.entry(speaker).or_default().push((site, i));
            }
        }
        let mut bundles: BTreeMap<(Vec<Site>, bool), Vec<Set>> = BTreeMap::new();
        for (speaker, set) in sets {
            let sites: Vec<Site> = set.iter().map(|(site, _)| *site).collect();
            bundles.entry((sites, self.barred[speaker])).or_default().push(set);
        }
        let bundle = |((mut sites, barred), sets): ((Vec<Site>, bool), _)| {
            sites.dedup();
            Bundle { sites, sets, barred }
        };
        bundles.into_iter().map(bundle).collect()
    }
}

impl Bundle {
    /// Which of its sets go when about a share of `sparsity` shall: the least of `scores`, as many as leave a multiple of `multiple`,
    /// and at least that many.
    pub fn least(&self, scores: &[f64], sparsity: f64, multiple: usize) -> Vec<usize> {
        let count = self.sets.len();
        let wanted = (count as f64 * (1.0 - sparsity)).round() as usize;
        let stay = wanted.div_ceil(multiple).max(1) * multiple;
        if self.barred || stay >= count {
            return Vec::new();
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
        order.truncate(count - stay);
        order.sort_unstable();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: usize) -> Site {
        Site { value, axis: 1 }
    }

    fn known(sizes: &[usize]) -> Channels {
        let mut all = Channels::default();
        sizes.iter().enumerate().for_each(|(value, size)| all.site(at(value), *size));
        all
    }

    #[test]
    fn a_residual_ties_its_operands() {
        // 0 + 1 = 2, and 3 stands apart
        let mut all = known(&[8, 8, 8, 4]);
        all.same(at(0), at(2));
        all.same(at(1), at(2));
        let bundles = all.bundles();
        assert_eq!(bundles.len(), 2);
        assert_eq!((bundles[0].sites.as_slice(), bundles[0].sets.len()), (&[at(0), at(1), at(2)][..], 8));
        assert_eq!(bundles[0].sets[5], [(at(0), 5), (at(1), 5), (at(2), 5)]);
        // what stays of one must stay of all
        all.bar(at(1));
        assert!(all.bundles()[0].barred && !all.bundles()[1].barred);
    }

    #[test]
    fn a_concatenation_puts_channels_side_by_side() {
        let mut all = known(&[4, 6, 10]);
        (0..4).for_each(|i| all.join((at(0), i), (at(2), i)));
        (0..6).for_each(|i| all.join((at(1), i), (at(2), 4 + i)));
        let bundles = all.bundles();
        assert_eq!(bundles.iter().map(|b| b.sets.len()).collect::<Vec<_>>(), [4, 6]);
        assert_eq!(bundles[1].sets[2], [(at(1), 2), (at(2), 6)]);
        // one half barred leaves the other free
        all.bar(at(0));
        assert_eq!(all.bundles().iter().map(|b| b.barred).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn flattening_ties_a_channel_with_all_of_its_places() {
        // 4 channels of 3 places each become 12
        let mut all = known(&[4, 12]);
        (0..12).for_each(|i| all.join((at(0), i / 3), (at(1), i)));
        let bundles = all.bundles();
        assert_eq!((bundles.len(), bundles[0].sets.len(), bundles[0].sets[1].len()), (1, 4, 4));
    }

    #[test]
    fn groups_go_block_by_block() {
        // a convolution of two groups: the channels of a group in and out must keep step, so a block goes whole
        let mut all = known(&[8, 8]);
        for group in 0..2 {
            (1..4).for_each(|i| all.join((at(0), 4 * group), (at(0), 4 * group + i)));
            (0..4).for_each(|i| all.join((at(0), 4 * group), (at(1), 4 * group + i)));
        }
        let bundles = all.bundles();
        assert_eq!((bundles.len(), bundles[0].sets.len(), bundles[0].sets[0].len()), (1, 2, 8));
    }

    #[test]
    fn depthwise_layers_keep_channels_in_step_and_counts_stay_multiples() {
        let mut all = known(&[32, 32]);
        all.same(at(0), at(1));
        let bundle = all.bundles().remove(0);
        let scores: Vec<f64> = (0..32).map(|i| ((i * 7) % 32) as f64).collect();
        let gone = bundle.least(&scores, 0.6, 8);
        // 12.8 would stay; 16 do
        assert_eq!(gone.len(), 16);
        assert!(gone.iter().all(|i| scores[*i] < 16.0));
        assert!(bundle.least(&scores, 0.1, 8).is_empty());
        assert_eq!(bundle.least(&scores, 1.0, 8).len(), 24);
    }
}
