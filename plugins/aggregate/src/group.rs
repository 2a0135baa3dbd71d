//! What is known of the records of a group.

use std::cmp::Ordering;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::{Deserialize, Serialize};
use pipehost_plugin::{Field, Number, Part};
use sketches_ddsketch::{Config, DDSketch};

/// What one output is computed of: `value`, `key`, or an attribute by its name.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Output {
    /// The sum; exact, if all are whole numbers.
    sum: Option<Part>,
    /// The smallest.
    min: Option<Part>,
    /// The largest.
    max: Option<Part>,
    /// The mean.
    mean: Option<Part>,
    /// The number below which a share of `at` lies. It is at most one per cent away, if the
    /// largest number is at most 10^17 times the smallest one; beyond, the smallest ones are less
    /// exact.
    quantile: Option<Part>,
    /// From 0 to 1: 0.5 for the median.
    at: Option<f64>,
}

pub enum Function {
    Sum,
    Min,
    Max,
    Mean,
    Quantile(f64),
}

impl Output {
    pub fn function(self) -> Result<(Function, Part), &'static str> {
        let Self { sum, min, max, mean, quantile, at } = self;
        let share = at.unwrap_or(0.5);
        let given = [
            (Function::Sum, sum),
            (Function::Min, min),
            (Function::Max, max),
            (Function::Mean, mean),
            (Function::Quantile(share), quantile),
        ];
        let mut given = given.into_iter().filter_map(|(function, part)| Some((function, part?)));
        let (Some(one), None) = (given.next(), given.next()) else {
            return Err("give one of `sum`, `min`, `max`, `mean` and `quantile`");
        };
        match (&one.0, at) {
            (Function::Quantile(_), Some(at)) if (0.0..=1.0).contains(&at) => Ok(one),
            (Function::Quantile(_), Some(_)) => Err("`at` is a number from 0 to 1"),
            (Function::Quantile(_), None) => Err("a quantile needs `at`, such as 0.99"),
            (_, Some(_)) => Err("`at` is for a `quantile`"),
            (_, None) => Ok(one),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(crate = "pipehost_plugin::serde")]
pub struct Group {
    pub count: u64,
    /// For each output.
    pub known: Vec<Known>,
}

/// What is known of some numbers.
#[derive(Serialize, Deserialize)]
#[serde(crate = "pipehost_plugin::serde")]
pub enum Known {
    Sum(Option<Sum>),
    Least(Option<Number>),
    Most(Option<Number>),
    Mean(Option<Sum>, u64),
    Quantile(Box<DDSketch>),
}

/// A sum, which may pass the largest double on its way.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(crate = "pipehost_plugin::serde")]
pub enum Sum {
    Exact(i128),
    Real(f64),
    /// In units of [`Sum::UNIT`].
    Large(f64),
}

impl Sum {
    /// So many numbers would be needed to pass the largest double again.
    const UNIT: f64 = 18_446_744_073_709_551_616.0;

    fn add(self, number: Number) -> Self {
        let sum = match (self, number) {
            (Self::Exact(sum), Number::Whole(number)) => match sum.checked_add(number) {
                Some(sum) => return Self::Exact(sum),
                None => sum as f64 + number as f64,
            },
            (Self::Exact(sum), number) => sum as f64 + number.real(),
            (Self::Real(sum), number) => sum + number.real(),
            (Self::Large(sum), number) => return Self::Large(sum + number.real() / Self::UNIT),
        };
        match (self, sum.is_finite()) {
            (_, true) => Self::Real(sum),
            (Self::Real(sum), false) => Self::Large(sum / Self::UNIT + number.real() / Self::UNIT),
            (_, false) => Self::Large(number.real() / Self::UNIT),
        }
    }

    /// The sum divided by a number; the largest double if it is more than that.
    fn divided(self, by: u64) -> Number {
        match self {
            Self::Exact(sum) if by == 1 => Number::Whole(sum),
            Self::Exact(sum) => Number::Real(sum as f64 / by as f64),
            Self::Real(sum) => Number::Real(sum / by as f64),
            Self::Large(sum) => {
                Number::Real((sum / by as f64 * Self::UNIT).clamp(f64::MIN, f64::MAX))
            }
        }
    }
}

impl Group {
    pub fn new(outputs: &[(String, Function, Field)]) -> Self {
        let known = outputs.iter().map(|(_, function, _)| match function {
            Function::Sum => Known::Sum(None),
            Function::Min => Known::Least(None),
            Function::Max => Known::Most(None),
            Function::Mean => Known::Mean(None, 0),
            Function::Quantile(_) => {
                // Of Masson, Rim and Lee, "DDSketch", VLDB 2019. Bins: a factor of 10^17 between
                // the least and the most; beyond, the least ones are less exact.
                const ACCURACY: f64 = 0.01;
                const BINS: u32 = 2048;
                const LEAST: f64 = 1e-9;
                Known::Quantile(Box::new(DDSketch::new(Config::new(ACCURACY, BINS, LEAST))))
            }
        });
        Self { count: 0, known: known.collect() }
    }
}

impl Known {
    pub fn add(&mut self, number: Number) {
        let keep = |kept: &mut Option<Number>, order| {
            if kept.is_none_or(|kept| number.compare(kept) == order) {
                *kept = Some(number);
            }
        };
        match self {
            Self::Sum(sum) => *sum = Some(sum.unwrap_or(Sum::Exact(0)).add(number)),
            Self::Least(least) => keep(least, Ordering::Less),
            Self::Most(most) => keep(most, Ordering::Greater),
            Self::Mean(sum, count) => {
                *sum = Some(sum.unwrap_or(Sum::Exact(0)).add(number));
                *count += 1;
            }
            Self::Quantile(sketch) => sketch.add(number.real()),
        }
    }

    /// The result; `None` if there was no number.
    pub fn result(&self, function: &Function) -> Option<Number> {
        match (self, function) {
            (Self::Sum(sum), _) => Some((*sum)?.divided(1)),
            (Self::Least(number) | Self::Most(number), _) => *number,
            (Self::Mean(sum, count), _) => Some(Number::Real((*sum)?.divided(*count).real())),
            (Self::Quantile(sketch), Function::Quantile(at)) => {
                let number = sketch.quantile(*at).ok().flatten()?;
                // The sketch knows the least and the most exactly.
                let (least, most) = (sketch.min()?, sketch.max()?);
                Some(Number::Real(number.max(least).min(most)))
            }
            (Self::Quantile(_), _) => None,
        }
    }
}
