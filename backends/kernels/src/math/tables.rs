//! Constants and coefficients of the two float types. Where no source is named, coefficients were fitted by
//! Chebyshev interpolation in sixty digits.

use ir::Dtype;

/// What the functions of one float type are made of.
pub struct Tables {
    pub float: Dtype,
    /// The signed integer type of the same width.
    pub int: Dtype,
    /// Bits of the mantissa that are stored.
    pub mantissa: i64,
    /// Bits of the sign, of 1.0, and of what stays of a mantissa's upper half.
    pub sign: i64,
    pub one: i64,
    pub half_mask: i64,
    pub smallest_normal: f64,
    /// 1.5 * 2^mantissa: numbers next to it are whole.
    pub magic: f64,
    /// ln 2 in two pieces, the first with zeros at its end.
    pub ln2: [f64; 2],
    /// Where exp is 0 and where it is infinite.
    pub exp_range: (f64, f64),
    /// exp on +- ln(2) / 2, down to the terms r and 1.
    pub exp: &'static [f64],
    /// Where sigmoid and tanh have become 1.
    pub sigmoid_end: f64,
    pub tanh_end: f64,
    /// A power of two that makes every denormal normal.
    pub lift: i32,
    /// `erf(x) / x` (f32: less 1) in x² up to the split.
    pub erf: &'static [f64],
    pub erf_split: f64,
    /// Bits of the smallest mantissa that log and pow work on.
    pub log_start: i64,
    pub sqrt_half: i64,
    /// `(atanh(q) / q - 1) / q²` in q², to (3 - sqrt(8))².
    pub atanh: &'static [f64],
    /// pi / 2 in pieces: for a multiply-add that rounds once, and for products that have to be exact.
    pub half_pi_fused: &'static [f64],
    pub half_pi: &'static [f64],
    /// `(sin(r) / r - 1) / r²` and cos, in r², to pi / 4.
    pub sin: &'static [f64],
    pub cos: &'static [f64],
    /// `(f(x) / x - 1) / x²` in x²: atan to tan(pi / 8), asin to 1/2, sinh to 1.
    pub atan: &'static [f64],
    pub asin: &'static [f64],
    pub sinh: &'static [f64],
    /// Beyond this, `sqrt(x² + 1)` is `x`, and x² is still finite.
    pub huge: f64,
}

pub const SINGLE: Tables = Tables {
    float: Dtype::F32,
    int: Dtype::I32,
    mantissa: 23,
    sign: 1 << 31,
    one: 0x3f80_0000,
    half_mask: -(1 << 12),
    smallest_normal: f32::MIN_POSITIVE as f64,
    magic: 12_582_912.0,
    ln2: [0.693359375, -2.12194440e-4],
    exp_range: (-104.0, 89.0),
    // N. Juffa, 2012-2020
    exp: &[1.37805939e-3, 8.37312452e-3, 4.16695364e-2, 1.66664720e-1, 4.99999851e-1, 1.0, 1.0],
    sigmoid_end: 30.0,
    tanh_end: 10.0,
    lift: 64,
    // N. Juffa, 2014-2022
    erf: &[-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1],
    erf_split: 0.927734375,
    // 2/3, so that m - 1 is from -1/3 to 1/3
    log_start: 0x3f2a_aaab,
    sqrt_half: 0x3f35_04f3,
    // N. Juffa, 2013-2020
    atanh: &[0.129_333_496_1, 0.141_992_807_4, 0.200_014_829_6, 0.333_333_253_9],
    half_pi_fused: &[1.5707963705062866, -4.371138828673793e-08, -1.7151244994428829e-15],
    half_pi: &[1.5703125, 0.0004837512969970703, 7.549533620476723e-08, 2.563344151594519e-12],
    // N. Juffa, 2012-2020
    sin: &[2.865_679_6e-6, -1.985_599_23e-4, 8.333_385_92e-3, -1.666_666_72e-1],
    cos: &[2.446_770_67e-5, -1.388_772_97e-3, 4.166_665_67e-2, -5.0e-1, 1.0],
    atan: &[-0.064_498_352_25, 0.107_430_996_7, -0.142_638_971_1, 0.199_995_387_9, -0.333_333_317_5],
    asin: &[0.033_690_847_2, 0.017_149_238_36, 0.031_100_662_74, 0.044_599_401_53, 0.075_000_945_43, 0.166_666_663_4],
    sinh: &[2.806_280_258e-6, 0.000_198_381_019_7, 0.008_333_339_676, 0.166_666_666_5],
    huge: 1e10,
};

pub const DOUBLE: Tables = Tables {
    float: Dtype::F64,
    int: Dtype::I64,
    mantissa: 52,
    sign: i64::MIN,
    one: 0x3ff0_0000_0000_0000,
    half_mask: -(1 << 27),
    smallest_normal: f64::MIN_POSITIVE,
    magic: 6755399441055744.0,
    ln2: [0.6931471805598903, 5.497923018708371e-14],
    exp_range: (-746.0, 710.0),
    exp: &[
        2.09147553258932e-09,
        2.5105312729622103e-08,
        2.755727347871858e-07,
        2.755725517000089e-06,
        2.480158732567746e-05,
        0.0001984126987500228,
        0.0013888888888883711,
        0.008333333333326084,
        0.04166666666666667,
        0.1666666666666667,
        0.5,
        1.0,
        1.0,
    ],
    sigmoid_end: 40.0,
    tanh_end: 20.0,
    lift: 512,
    erf: &[
        5.957176147748911e-11,
        -1.1372848856791674e-09,
        1.4659775274047436e-08,
        -1.6350312701054695e-07,
        1.6461000484121368e-06,
        -1.4925595266831182e-05,
        0.0001205533111164271,
        -8.548_326_980_833_79e-4,
        0.0052239776248180145,
        -0.026866170645076792,
        0.11283791670954879,
        -0.3761263890318375,
        std::f64::consts::FRAC_2_SQRT_PI,
    ],
    erf_split: 1.0,
    // sqrt(1/2)
    log_start: 0x3fe6_a09e_667f_3bcd,
    sqrt_half: 0x3fe6_a09e_667f_3bcd,
    atanh: &[
        0.05462275727323434,
        0.05217748475147687,
        0.05883961555026461,
        0.06666632412765192,
        0.07692308142525636,
        0.09090909087312438,
        0.11111111111127597,
        0.14285714285714246,
        0.2,
        0.3333333333333333,
    ],
    half_pi_fused: &[1.5707963267341256, 6.077100506303966e-11, 2.0222662487950633e-21],
    half_pi: &[1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32],
    // FDLIBM's k_sin.c and k_cos.c, Sun Microsystems 1993
    sin: &[
        1.58969099521155e-10,
        -2.5050760253406863e-08,
        2.7557313707070068e-06,
        -0.0001984126982985795,
        0.00833333333332249,
        -0.16666666666666632,
    ],
    cos: &[
        -1.1359647557788195e-11,
        2.087572321298175e-09,
        -2.7557314351390663e-07,
        2.480158728947673e-05,
        -0.001388888888887411,
        0.0416666666666666,
        -0.5,
        1.0,
    ],
    atan: &[
        -0.013905374533113236,
        0.030622995553735516,
        -0.041038875468626876,
        0.04719259188242093,
        -0.05258020272656758,
        0.058819230561140225,
        -0.06666641869131183,
        0.07692306729194896,
        -0.0909090906681608,
        0.11111111110751482,
        -0.1428571428571149,
        0.19999999999999993,
        -0.3333333333333333,
    ],
    asin: &[
        0.02961201126495512,
        -0.01924167174674304,
        0.019554513336123378,
        0.0030448799094556773,
        0.009319560794767446,
        0.009621842970100282,
        0.011566459612121669,
        0.01396378001220357,
        0.017352816540325496,
        0.02237215744350722,
        0.03038194447553234,
        0.044642857142551895,
        0.07500000000000118,
        0.16666666666666666,
    ],
    sinh: &[
        2.8445264169895285e-15,
        7.646625361656657e-13,
        1.6059048396350562e-10,
        2.5052108384058042e-08,
        2.755731922404034e-06,
        0.00019841269841269773,
        0.008333333333333333,
        0.16666666666666666,
    ],
    huge: 1e150,
};

/// `log(1 + f)` by its series in `(f / (f + 2))²`. FDLIBM's e_log.c, Sun Microsystems 1993.
pub const LOG: &[f64] = &[
    0.14798198605116586,
    0.15313837699209373,
    0.1818357216161805,
    0.22222198432149784,
    0.2857142874366239,
    0.3999999999940942,
    0.6666666666666735,
];

/// `(1 - erf(x)) exp(x²)` in `(x - 3) / (x + 3)`, from 1 to where erf has become 1.
pub const ERF_FAR: &[f64] = &[
    1.0072167005051338e-08,
    4.678647880859019e-08,
    2.441914408170168e-08,
    -2.3577887451674211e-07,
    -2.932539939512112e-07,
    1.2527753906174014e-06,
    2.119965615030371e-06,
    -7.978154535520423e-06,
    -1.2860499068831538e-05,
    6.405655476830958e-05,
    4.5255299038074156e-05,
    -0.0005970619483056264,
    0.0007077464388833582,
    0.004269136332825739,
    -2.439_249_931_867_06e-2,
    0.07166583719797849,
    -0.15011593650077723,
    0.24560380171233087,
    -0.3262335600430372,
    0.17900115118138996,
];
