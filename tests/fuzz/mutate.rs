//! Seeds, mutated in ways that are the same every time: what runs a fuzz target on a stable compiler.
//!
//! Never: a random number, a clock; a finding can be played again.

/// Xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }
}

/// Gives `target` the seeds, and then `POSTERN_FUZZ_ROUNDS` (or `rounds`) mutations of them with `words` put in.
pub(crate) fn play(seeds: &[&[u8]], words: &[&[u8]], rounds: usize, target: impl Fn(&[u8])) {
    let asked = std::env::var("POSTERN_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok());
    seeds.iter().for_each(|seed| target(seed));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..asked.unwrap_or(rounds) {
        target(&mutate(seeds, words, &mut dice));
    }
}

fn mutate(seeds: &[&[u8]], words: &[&[u8]], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let to = at + dice.below(bytes.len() - at + 1).min(40);
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.splice(at..at, words[dice.below(words.len())].iter().copied())),
            2 => drop(bytes.drain(at..to)),
            3 => bytes.truncate(at),
            _ => drop(bytes.splice(at..to, words[dice.below(words.len())].repeat(dice.below(4)))),
        }
    }
    bytes
}
