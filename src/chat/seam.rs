//! Where an answer that broke off is continued. Models write a blank together with the word behind it: behind a trailing blank
//! they do not find the way on, so it is not sent, and comes again.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// What a model is sent of the shown text.
pub fn beginning(shown: &str) -> &str {
    shown.trim_end()
}

/// Leaves out of the new text the blanks that were shown and not sent.
#[derive(Debug)]
pub struct Seam {
    /// Those that may still come.
    blanks: Box<str>,
}

impl Seam {
    pub fn new(shown: &str) -> Self {
        Seam { blanks: shown[beginning(shown).len()..].into() }
    }

    /// What is new in the next piece. A piece without anything new may be followed by others of that kind.
    pub fn join<'a>(&mut self, piece: &'a str) -> &'a str {
        let same = self.blanks.chars().zip(piece.chars()).take_while(|(shown, next)| shown == next);
        let same: usize = same.map(|(shown, _)| shown.len_utf8()).sum();
        self.blanks = if same == piece.len() { self.blanks[same..].into() } else { Box::default() };
        &piece[same..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blanks_that_were_shown_are_left_out_once() {
        for (shown, pieces, whole) in [
            ("a tide", &[" is", " high"][..], "a tide is high"),
            ("a tide ", &[" is"], "a tide is"),
            ("a tide ", &["is"], "a tide is"),
            ("a tide\n\n", &["\n", "\n- it"], "a tide\n\n- it"),
            ("a tide\n\n", &["\n- it", "\n- is"], "a tide\n\n- it\n- is"),
            ("a tide\n", &["\n\nIt", " is"], "a tide\n\nIt is"),
            ("a tide ", &["\nIt"], "a tide \nIt"),
            ("潮\u{3000}", &["\u{3000}水"], "潮\u{3000}水"),
        ] {
            let mut seam = Seam::new(shown);
            let new: String = pieces.iter().map(|piece| seam.join(piece)).collect();
            assert_eq!(format!("{shown}{new}"), whole);
        }
    }

    proptest! {
        /// However a model's text is split: a model that goes on with what it was sent makes the whole answer.
        #[test]
        fn an_answer_cut_anywhere_and_continued_is_the_same(
            whole in "[ab水 \n\t]{0,12}",
            cut in 0..13_usize,
            ends in proptest::collection::vec(0..13_usize, 0..4),
        ) {
            let shown = &whole[..whole.floor_char_boundary(cut)];
            let rest = &whole[beginning(shown).len()..];
            let mut ends: Vec<_> = ends.into_iter().map(|end| rest.floor_char_boundary(end)).collect();
            ends.push(rest.len());
            ends.sort_unstable();
            let (mut seam, mut text, mut from) = (Seam::new(shown), shown.to_owned(), 0);
            for end in ends {
                text += seam.join(&rest[from..end]);
                from = end;
            }
            prop_assert_eq!(text, whole);
        }
    }
}
