//! What the samples of a layer have in common: the sums of their products with each other and with what the layer should say. They are all
//! that rounding and refitting need of the samples, however many there are.

/// Samples that are added up in f32 before f64 takes over.
const CHUNK: usize = 256;

/// `samples' samples` and `samples' targets`, summed.
#[derive(Clone, Debug)]
pub struct Gram {
    /// Inputs of a sample.
    pub k: usize,
    /// Outputs of a target; 0 without targets.
    pub n: usize,
    /// How many samples were added.
    pub samples: usize,
    /// `[k][k]`; only the lower triangle is filled.
    products: Vec<f64>,
    /// `[n][k]`
    cross: Vec<f64>,
    /// The sum of the squares of all targets.
    power: f64,
}

/// The sum of products. Sixteen partial sums, so that the compiler may use vectors.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().map(|v| f64::from(*v)).sum()
}

/// `[rows][columns]` as columns of `CHUNK`, the missing rows zero.
fn columns(values: &[f32], columns: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(columns * CHUNK, 0.0);
    for (row, values) in values.chunks_exact(columns.max(1)).enumerate() {
        for (column, &value) in values.iter().enumerate() {
            out[column * CHUNK + row] = value;
        }
    }
}

impl Gram {
    pub fn new(k: usize, n: usize) -> Gram {
        Gram { k, n, samples: 0, products: vec![0.0; k * k], cross: vec![0.0; n * k], power: 0.0 }
    }

    /// Adds samples, `[..][k]`, and what the layer should say to them, `[..][n]`.
    pub fn add(&mut self, samples: &[f32], targets: &[f32]) {
        let count = samples.len() / self.k.max(1);
        assert_eq!((samples.len(), targets.len()), (count * self.k, count * self.n), "whole samples");
        let (mut x, mut t) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(CHUNK) {
            let end = count.min(first + CHUNK);
            columns(&samples[first * self.k..end * self.k], self.k, &mut x);
            columns(&targets[first * self.n..end * self.n], self.n, &mut t);
            for (i, a) in x.chunks_exact(CHUNK).enumerate() {
                // most activations are behind a Relu, and many inputs are dead
                if a.iter().all(|v| *v == 0.0) {
                    continue;
                }
                for (j, b) in x.chunks_exact(CHUNK).enumerate().take(i + 1) {
                    self.products[i * self.k + j] += dot(a, b);
                }
                for (o, b) in t.chunks_exact(CHUNK).enumerate() {
                    self.cross[o * self.k + i] += dot(a, b);
                }
            }
        }
        self.power += targets.iter().map(|t| f64::from(*t).powi(2)).sum::<f64>();
        self.samples += count;
    }

    /// Adds what another has gathered of the same layer.
    pub fn join(&mut self, other: &Gram) {
        assert_eq!((self.k, self.n), (other.k, other.n), "one layer");
        self.products.iter_mut().zip(&other.products).for_each(|(to, from)| *to += from);
        self.cross.iter_mut().zip(&other.cross).for_each(|(to, from)| *to += from);
        self.power += other.power;
        self.samples += other.samples;
    }

    /// The sum of the products of two inputs.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        if i >= j { self.products[i * self.k + j] } else { self.products[j * self.k + i] }
    }

    /// The sum of the products of an input and an output.
    pub fn with_target(&self, output: usize, input: usize) -> f64 {
        self.cross[output * self.k + input]
    }

    /// The mean of the squares of each input.
    pub fn energy(&self) -> Vec<f32> {
        (0..self.k).map(|i| (self.product(i, i) / self.samples.max(1) as f64) as f32).collect()
    }

    /// The mean over inputs of the sum of squares: what a ridge is measured by.
    pub fn scale(&self) -> f64 {
        (0..self.k).map(|i| self.product(i, i)).sum::<f64>() / self.k.max(1) as f64
    }

    /// The power of what `weights`, `[n][k]`, say beside the targets, over the power of the targets.
    pub fn noise(&self, weights: &[f32]) -> f64 {
        let mut error = self.power;
        for (output, row) in weights.chunks_exact(self.k).enumerate() {
            let said: f64 = row.iter().enumerate().map(|(i, w)| f64::from(*w) * self.with_target(output, i)).sum();
            error += self.loss(row) - 2.0 * said;
        }
        error.max(0.0) / self.power.max(f64::MIN_POSITIVE)
    }

    /// How far the layer's sums are off, squared and added up over all samples and rows, when its weights are off by `difference`,
    /// `[rows][k]`.
    pub fn loss(&self, difference: &[f32]) -> f64 {
        let mut total = 0.0;
        for row in difference.chunks_exact(self.k) {
            for (i, &di) in row.iter().enumerate().filter(|(_, d)| **d != 0.0) {
                let products = &self.products[i * self.k..i * self.k + i];
                let below: f64 = products.iter().zip(row).map(|(p, d)| p * f64::from(*d)).sum();
                total += f64::from(di) * (2.0 * below + self.product(i, i) * f64::from(di));
            }
        }
        total
    }
}

/// The mean and the mean square of each input of a layer.
#[derive(Clone, Debug, Default)]
pub struct Means {
    sums: Vec<f64>,
    squares: Vec<f64>,
    samples: usize,
}

impl Means {
    pub fn add(&mut self, samples: &[f32], k: usize) {
        self.sums.resize(k, 0.0);
        self.squares.resize(k, 0.0);
        for sample in samples.chunks_exact(k.max(1)) {
            for ((sum, square), &v) in self.sums.iter_mut().zip(&mut self.squares).zip(sample) {
                *sum += f64::from(v);
                *square += f64::from(v) * f64::from(v);
            }
            self.samples += 1;
        }
    }

    pub fn mean(&self) -> Vec<f32> {
        self.sums.iter().map(|v| (v / self.samples.max(1) as f64) as f32).collect()
    }

    /// The mean of the squares.
    pub fn energy(&self) -> Vec<f32> {
        self.squares.iter().map(|v| (v / self.samples.max(1) as f64) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_error_of_the_sums() {
        let (k, count) = (5, 700);
        let samples: Vec<f32> = (0..k * count).map(|i| ((i * 37 % 91) as f32 / 45.0 - 1.0).max(0.0)).collect();
        let difference = [0.5, 0.0, -0.25, 1.0, 0.125, 0.0, 0.0, 2.0, -1.0, 0.5];
        let mut gram = Gram::new(k, 0);
        gram.add(&samples[..k * 300], &[]);
        gram.add(&samples[k * 300..], &[]);
        let direct: f64 = difference
            .chunks_exact(k)
            .flat_map(|row| samples.chunks_exact(k).map(move |x| x.iter().zip(row).map(|(x, d)| f64::from(x * d)).sum::<f64>().powi(2)))
            .sum();
        assert!((gram.loss(&difference) / direct - 1.0).abs() < 1e-4, "{} {direct}", gram.loss(&difference));
        let mut means = Means::default();
        means.add(&samples, k);
        assert!(means.energy().iter().zip(gram.energy()).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
