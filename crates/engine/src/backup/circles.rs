//! Finds groups of tables whose foreign keys form a circle (Tarjan's strongly connected components).
//!
//! Such tables cannot be loaded row by row in any order while their keys are enforced; basekeep loads rows first and adds
//! the keys afterwards, so the circles are told for information.

use std::collections::BTreeMap;

/// Groups of more than one table, and single tables that reference themselves. Groups and their members are sorted.
pub(super) fn circles(edges: &[(String, String)]) -> Vec<Vec<String>> {
    let mut index_of = BTreeMap::new();
    for (from, to) in edges {
        for name in [from, to] {
            let next = index_of.len();
            index_of.entry(name.as_str()).or_insert(next);
        }
    }
    let mut names = vec![""; index_of.len()];
    for (name, index) in &index_of {
        names[*index] = name;
    }
    let mut targets = vec![Vec::new(); names.len()];
    let mut to_itself = vec![false; names.len()];
    for (from, to) in edges {
        let (from, to) = (index_of[from.as_str()], index_of[to.as_str()]);
        targets[from].push(to);
        to_itself[from] |= from == to;
    }
    let mut groups: Vec<Vec<String>> = components(&targets)
        .into_iter()
        .filter(|group| group.len() > 1 || group.iter().any(|&node| to_itself[node]))
        .map(|group| {
            let mut group: Vec<String> = group.into_iter().map(|node| names[node].to_owned()).collect();
            group.sort();
            group
        })
        .collect();
    groups.sort();
    groups
}

/// Strongly connected components without recursion, since chains of thousands of tables exist.
fn components(targets: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut order = vec![UNSEEN; targets.len()];
    let mut lowest = vec![0; targets.len()];
    let mut on_stack = vec![false; targets.len()];
    let (mut stack, mut groups, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..targets.len() {
        if order[root] != UNSEEN {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((node, edge)) = path.pop() {
            if edge == 0 {
                order[node] = next;
                lowest[node] = next;
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(&target) = targets[node].get(edge) {
                path.push((node, edge + 1));
                if order[target] == UNSEEN {
                    path.push((target, 0));
                } else if on_stack[target] {
                    lowest[node] = lowest[node].min(order[target]);
                }
                continue;
            }
            if let Some(&(parent, _)) = path.last() {
                lowest[parent] = lowest[parent].min(lowest[node]);
            }
            if lowest[node] == order[node] {
                let at = stack.iter().rposition(|&n| n == node).unwrap_or(0);
                let group = stack.split_off(at);
                group.iter().for_each(|&n| on_stack[n] = false);
                groups.push(group);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::circles;

    fn edges(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_chain_has_no_circle() {
        assert!(circles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    }

    #[test]
    fn three_tables_in_a_ring_and_one_that_references_itself_are_found() {
        let found = circles(&edges(&[
            ("messages", "users"),
            ("users", "approvals"),
            ("approvals", "messages"),
            ("approvals", "projects"),
            ("tree", "tree"),
        ]));
        assert_eq!(found, [vec!["approvals", "messages", "users"], vec!["tree"]]);
    }

    #[test]
    fn two_rings_that_share_a_table_are_one_group() {
        let found = circles(&edges(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("c", "d")]));
        assert_eq!(found, [vec!["a", "b", "c"]]);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_tables_does_not_overflow() {
        let pairs: Vec<(String, String)> =
            (0..100_000).map(|n| (format!("t{n}"), format!("t{}", n + 1))).collect();
        assert!(circles(&pairs).is_empty());
    }
}
