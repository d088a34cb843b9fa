//! Distances between the surfaces of masks.

/// The 95th percentile of the distances from each mask's surface to the other's, the larger of both directions, as MONAI's
/// `compute_hausdorff_distance(percentile=95)`. `Some(0.0)` where both are empty, `None` where one is.
///
/// The surface of a mask is what of it has a neighbour along an axis outside it, outside the image included. Sizes are of
/// one to three dimensions, elements of distance 1.
pub(super) fn hausdorff_95(left: &[bool], right: &[bool], dims: &[usize]) -> Option<f64> {
    let (left, right) = (surface(left, dims), surface(right, dims));
    match (left.is_empty(), right.is_empty()) {
        (true, true) => Some(0.0),
        (false, false) => Some(f64::max(
            percentile_95(distances(&left, &right)),
            percentile_95(distances(&right, &left)),
        )),
        _ => None,
    }
}

/// The coordinates of a mask's surface.
fn surface(mask: &[bool], dims: &[usize]) -> Vec<[i64; 3]> {
    let mut sizes = [1; 3];
    sizes[3 - dims.len()..].copy_from_slice(dims);
    let strides = [sizes[1] * sizes[2], sizes[2], 1];
    let mut surface = Vec::new();
    for (index, _) in mask.iter().enumerate().filter(|(_, inside)| **inside) {
        let at: [usize; 3] = std::array::from_fn(|axis| index / strides[axis] % sizes[axis]);
        let outer = (3 - dims.len()..3).any(|axis| {
            at[axis] == 0
                || at[axis] + 1 == sizes[axis]
                || !mask[index - strides[axis]]
                || !mask[index + strides[axis]]
        });
        if outer {
            surface.push(at.map(|coordinate| coordinate as i64));
        }
    }
    surface
}

/// The distance from each point to the nearest of others.
fn distances(from: &[[i64; 3]], to: &[[i64; 3]]) -> Vec<f64> {
    let squared = |a: &[i64; 3], b: &[i64; 3]| -> i64 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    };
    from.iter()
        .map(|point| {
            let nearest = to.iter().map(|other| squared(point, other)).min();
            (nearest.unwrap_or(0) as f64).sqrt()
        })
        .collect()
}

/// The percentile with linear interpolation, as numpy's.
fn percentile_95(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = 0.95 * (values.len() - 1) as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(values.len() - 1);
    values[low] + share * (values[high] - values[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(lines: &[&str]) -> Vec<bool> {
        lines
            .concat()
            .bytes()
            .map(|letter| letter == b'#')
            .collect()
    }

    /// Values by scipy 1.17: `binary_erosion`, `distance_transform_edt` and `numpy.percentile`.
    #[test]
    fn distances_are_scipys() {
        let left = mask(&[
            "..........",
            "..####....",
            "..####....",
            "..####....",
            "..........",
            ".........#",
        ]);
        let right = mask(&[
            "..........",
            "....####..",
            "....####..",
            "....####..",
            "....####..",
            "..........",
        ]);
        let found = hausdorff_95(&left, &right, &[6, 10]).unwrap();
        assert!((found - 2.118033988749895).abs() < 1e-12, "{found}");
        let same = hausdorff_95(&left, &left, &[6, 10]);
        assert_eq!(same, Some(0.0));
    }

    #[test]
    fn a_solid_cube_has_a_surface_without_its_inside() {
        let cube = vec![true; 27];
        assert_eq!(surface(&cube, &[3, 3, 3]).len(), 26);
        assert_eq!(surface(&cube, &[27]).len(), 2);
        let mut corner = vec![false; 27];
        corner[0] = true;
        // From the corner 0; from the 26, the farthest at √12 and the 95th percentile between √9 and √9.
        let found = hausdorff_95(&corner, &cube, &[3, 3, 3]).unwrap();
        assert!((found - 3.0).abs() < 1e-12, "{found}");
    }

    #[test]
    fn an_empty_mask_has_no_distance_to_another() {
        let (empty, full) = ([false; 4], [true; 4]);
        assert_eq!(hausdorff_95(&empty, &empty, &[2, 2]), Some(0.0));
        assert_eq!(hausdorff_95(&empty, &full, &[2, 2]), None);
        assert_eq!(hausdorff_95(&full, &empty, &[2, 2]), None);
    }
}
