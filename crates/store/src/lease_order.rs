//! The order of a lease: new mail and backlog in turn.

/// One of each in turn, so that neither list waits for the end of the other.
pub(crate) fn in_turn<T: Copy>(first: &[T], second: &[T]) -> Vec<T> {
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    for place in 0..first.len().max(second.len()) {
        mixed.extend(first.get(place));
        mixed.extend(second.get(place));
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_list_waits_for_the_end_of_the_other() {
        assert_eq!(in_turn(&[1, 2, 3], &[9]), [1, 9, 2, 3]);
        assert_eq!(in_turn(&[], &[9]), [9]);
    }
}
