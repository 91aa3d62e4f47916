//! Irreducible polynomials over GF(2), which restic's `config` must hold: stock restic cuts its chunks with one.
//! A polynomial is a bit mask; bit `n` is the coefficient of `x^n`.

use rand::Rng;

const DEGREE: u32 = 53;

/// A random irreducible polynomial of degree 53.
pub(crate) fn random() -> u64 {
    let mut random = rand::rng();
    loop {
        // About one in 27 odd candidates is irreducible.
        let candidate = (random.next_u64() & ((1 << DEGREE) - 1)) | (1 << DEGREE) | 1;
        if is_irreducible(candidate) {
            return candidate;
        }
    }
}

/// Ben-Or's test: no factor of degree `i` for any `i` up to half the degree, that is, `x^(2^i) - x` has no common
/// factor with the polynomial.
pub(crate) fn is_irreducible(polynomial: u64) -> bool {
    if polynomial < 4 {
        return polynomial >= 2;
    }
    let mut power = 2; // x
    for _ in 0..degree(polynomial) / 2 {
        power = multiply(power, power, polynomial);
        if greatest_common_divisor(polynomial, power ^ 2) != 1 {
            return false;
        }
    }
    true
}

fn degree(polynomial: u64) -> u32 {
    63 - polynomial.leading_zeros()
}

/// `a * b` modulo `modulus`; both factors are smaller than it.
fn multiply(mut a: u64, mut b: u64, modulus: u64) -> u64 {
    let top = 1 << degree(modulus);
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a & top != 0 {
            a ^= modulus;
        }
    }
    product
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        (a, b) = (b, a);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_polynomials_are_told_apart_as_by_trial_division() {
        let divides = |d: u64, mut p: u64| {
            while p != 0 && degree(p) >= degree(d) {
                p ^= d << (degree(p) - degree(d));
            }
            p == 0
        };
        for polynomial in 2..2048_u64 {
            let by_trial =
                (2..polynomial).filter(|d| degree(*d) < degree(polynomial)).all(|d| !divides(d, polynomial));
            assert_eq!(is_irreducible(polynomial), by_trial, "{polynomial:b}");
        }
    }

    #[test]
    fn those_that_stock_restic_made_are_irreducible_and_so_are_ours() {
        assert!(is_irreducible(0x0025_b468_838d_cb75));
        assert!(is_irreducible(0x003d_a335_8b4d_c173));
        let ours = random();
        assert!(is_irreducible(ours));
        assert_eq!(degree(ours), 53);
    }
}
