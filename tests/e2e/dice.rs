//! Numbers that look random and are the same in every run.

/// Knuth's MMIX generator; the low bits of it repeat soon, so the high ones are taken.
pub struct Dice(u64);

impl Dice {
    /// Seeds that are near to each other give numbers that aren't.
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.below(2);
        dice
    }

    /// A number from 0 to one less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    pub fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }

    /// So many of these, each once, or all of them.
    pub fn some_of<T>(&mut self, mut values: Vec<T>, wanted: usize) -> Vec<T> {
        for place in 0..wanted.min(values.len()) {
            let other = place + self.below(values.len() - place);
            values.swap(place, other);
        }
        values.truncate(wanted);
        values
    }
}
