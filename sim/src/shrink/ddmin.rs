//! Delta debugging (Zeller, Hildebrandt 2002): a subset from which nothing more can be left out, one by one.

/// Leaves out items for as long as what is left still `fails`: halves first, then smaller parts, at last one by one. All of `items`
/// must fail. The answer fails, and unless `fails` gave up in between it no longer does without any single item.
pub fn ddmin<T: Clone>(items: Vec<T>, fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = items;
    if left.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut parts = 2;
    while left.len() > 1 {
        let size = left.len().div_ceil(parts);
        let mut shrunk = false;
        let mut at = 0;
        while at < left.len() && left.len() > 1 {
            let end = (at + size).min(left.len());
            let rest: Vec<T> = left[..at].iter().chain(&left[end..]).cloned().collect();
            if !rest.is_empty() && fails(&rest) {
                left = rest;
                shrunk = true;
            } else {
                at = end;
            }
        }
        match (shrunk, size) {
            (false, 1) => break,
            (true, 1) => (),
            _ => parts = (parts * 2).min(left.len()),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduce(count: u32, needed: &[u32]) -> (Vec<u32>, u32) {
        let mut tests = 0;
        let left = ddmin((0..count).collect(), &mut |some| {
            tests += 1;
            needed.iter().all(|item| some.contains(item))
        });
        (left, tests)
    }

    #[test]
    fn what_is_needed_is_left_and_nothing_else() {
        for needed in [&[][..], &[0], &[99], &[17, 18], &[3, 40, 41, 77], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            assert_eq!(reduce(100, needed).0, needed);
        }
        assert_eq!(reduce(1, &[0]).0, [0]);
        assert_eq!(reduce(0, &[]).0, [0; 0]);
    }

    #[test]
    fn few_needed_items_take_few_tests() {
        let (_, tests) = reduce(1000, &[500]);
        assert!(tests < 60, "{tests}");
    }

    #[test]
    fn nothing_can_be_left_out_when_items_hang_together() {
        // Fails with an even number of items only: one by one nothing goes, two by two it does.
        let left = ddmin((0..16).collect::<Vec<u32>>(), &mut |some| !some.is_empty() && some.len().is_multiple_of(2));
        assert_eq!(left.len(), 2);
    }
}
