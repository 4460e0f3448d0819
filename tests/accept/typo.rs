//! Words as people mistype them.

use crate::dice::Dice;

/// Letters from which on a misspelt word has two edits.
const TWO_EDITS_LETTERS: usize = 9;
/// Letters of the shortest word that is misspelt.
pub const LETTERS_MIN: usize = 4;

/// How many edits a misspelt word of so many letters has.
pub fn edits_of(letters: usize) -> usize {
    if letters >= TWO_EDITS_LETTERS { 2 } else { 1 }
}

/// The word with so many letters replaced, added, left out or swapped with their neighbours; never the word itself.
pub fn misspelt(word: &str, edits: usize, dice: &mut Dice) -> String {
    loop {
        let mut letters: Vec<char> = word.chars().collect();
        for _ in 0..edits {
            let letter = char::from(b'a' + u8::try_from(dice.below(26)).unwrap());
            match dice.below(4) {
                0 => {
                    let at = dice.below(letters.len());
                    letters[at] = letter;
                }
                1 => letters.insert(dice.below(letters.len() + 1), letter),
                2 => drop(letters.remove(dice.below(letters.len()))),
                _ => {
                    let at = dice.below(letters.len() - 1);
                    letters.swap(at, at + 1);
                }
            }
        }
        let misspelt: String = letters.into_iter().collect();
        if misspelt != word {
            return misspelt;
        }
    }
}

/// The query with its longest word misspelt, the first of several; as it is when that word is too short.
pub fn misspelt_query(query: &str, seed: u64) -> String {
    let mut words: Vec<String> = query.split(' ').map(str::to_owned).collect();
    let letters = |word: &String| word.chars().count();
    let Some(longest) = (0..words.len()).rev().max_by_key(|&place| letters(&words[place])) else {
        return query.to_owned();
    };
    if letters(&words[longest]) < LETTERS_MIN {
        return query.to_owned();
    }
    // Of the query, too, so that no query's typos depend on which others are asked.
    let hash = query.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let mut dice = Dice::new(hash);
    words[longest] = misspelt(&words[longest], edits_of(letters(&words[longest])), &mut dice);
    words.join(" ")
}

/// How many such edits lie between two words, where no letter is edited twice.
pub fn distance(from: &[char], to: &[char]) -> usize {
    // Of the last letters read, to each beginning of the other word; and the same a letter and two letters before.
    let mut earlier: Vec<usize> = Vec::new();
    let mut before: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut now = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let replaced = before[column] + usize::from(letter != other);
            let mut least = replaced.min(before[column + 1] + 1).min(now[column] + 1);
            if row > 0 && column > 0 && *letter == to[column - 1] && from[row - 1] == *other {
                least = least.min(earlier[column - 1] + 1);
            }
            now.push(least);
        }
        earlier = std::mem::replace(&mut before, now);
    }
    before[to.len()]
}
