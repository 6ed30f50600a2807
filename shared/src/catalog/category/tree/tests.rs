use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::catalog::category::{
    parts::{self, decode, encode},
    render::render,
};

fn id(n: usize) -> CategoryId {
    CategoryId(Uuid::from_u128(
        0x0196_a1b2_c3d4_7000_8000_0000_0000_0000 + n as u128,
    ))
}

fn labels(name: &str, slug: &str, sort_order: i32) -> Labels {
    Labels {
        name: name.to_owned(),
        slug: slug.parse().unwrap(),
        sort_order,
    }
}

fn with(tree: &Tree, n: usize, parent: Option<usize>) -> Tree {
    let slug = format!("c-{n}");
    let change = tree.create(id(n), &labels("C", &slug, 0), parent.map(id));
    change.unwrap().tree
}

/// A chain of `length` categories, each below the one before.
fn chain(length: usize) -> Tree {
    (0..length).fold(Tree::default(), |tree, n| with(&tree, n, n.checked_sub(1)))
}

fn read_back(tree: &Tree) -> Tree {
    let mut read = Tree {
        version: tree.version,
        ..Tree::default()
    };
    for part in 0..PARTS {
        decode(&encode(tree, part).unwrap(), part, &mut read).unwrap();
    }
    read
}

fn rendered(tree: &Tree, root: Option<usize>, depth: usize) -> Value {
    let root = root.map(|n| tree.find(id(n)).unwrap());
    serde_json::from_slice(&render(tree, root, depth).unwrap()).unwrap()
}

#[test]
fn a_category_knows_its_way_from_the_top() {
    let tree = with(&chain(3), 7, Some(1));
    let category = tree.category(id(7)).unwrap();
    assert_eq!((category.level, category.parent_id), (2, Some(id(1))));
    assert_eq!(category.path, [0, 1, 7].map(id));
    assert_eq!(tree.category(id(8)), None);
}

#[test]
fn a_category_does_not_come_below_itself() {
    let tree = chain(4);
    for to in 0..4 {
        let moved = tree.relocate(id(0), Some(id(to)), None);
        assert_eq!(moved.unwrap_err(), TreeError::Cycle);
    }
    assert!(tree.relocate(id(0), None, None).is_ok());
    let unknown = tree.relocate(id(0), Some(id(9)), None);
    assert_eq!(unknown.unwrap_err(), TreeError::NoParent);
}

#[test]
fn nothing_comes_lower_than_the_tree_may_be_deep() {
    let tree = chain(MOST_DEPTH);
    let below = tree.create(id(100), &labels("C", "c", 0), Some(id(MOST_DEPTH - 1)));
    assert_eq!(below.unwrap_err(), TreeError::TooDeep);
    let beside = with(&tree, 100, None);
    let lower = beside.relocate(id(0), Some(id(100)), None);
    assert_eq!(lower.unwrap_err(), TreeError::TooDeep);
    assert!(beside.relocate(id(1), Some(id(100)), None).is_ok());
}

#[test]
fn a_slug_is_taken_by_one_category() {
    let tree = chain(2);
    let twice = tree.create(id(5), &labels("C", "c-1", 0), None);
    assert_eq!(twice.unwrap_err(), TreeError::SlugTaken);
    let stolen = tree.relabel(id(0), &labels("C", "c-1", 0));
    assert_eq!(stolen.unwrap_err(), TreeError::SlugTaken);
    assert!(tree.relabel(id(0), &labels("Other", "c-0", 3)).is_ok());
}

#[test]
fn a_category_with_others_below_stays_and_a_place_is_used_again() {
    let tree = chain(2);
    assert_eq!(tree.delete(id(0)).unwrap_err(), TreeError::NotEmpty);
    let tree = tree.delete(id(1)).unwrap().tree;
    let again = with(&tree, 9, Some(0));
    assert_eq!((again.len(), again.find(id(9))), (2, Some(Place(1))));
    assert_eq!(tree.delete(id(1)).unwrap_err(), TreeError::NotFound);
}

#[test]
fn there_is_an_end_to_categories_and_to_what_a_part_holds() {
    let mut tree = Tree::default();
    for n in 0..MOST_CATEGORIES {
        tree.put(Node {
            place: Place(u32::try_from(n).unwrap()),
            id: id(n),
            parent: None,
            name: "C",
            slug: "",
            sort_order: 0,
            version: 1,
        });
    }
    let more = tree.create(id(MOST_CATEGORIES), &labels("C", "c", 0), None);
    assert_eq!(more.unwrap_err(), TreeError::Full);
    let noise = |n: usize| {
        let words = (0..25).map(|k| xxhash_rust::xxh3::xxh3_64(&(n * 25 + k).to_le_bytes()));
        words.fold(String::new(), |text, word| text + &format!("{word:016x}"))
    };
    for n in (0..MOST_CATEGORIES).step_by(PARTS) {
        let node = tree.node(Place(u32::try_from(n).unwrap())).unwrap();
        let (id, place) = (node.id, node.place);
        tree.put(Node {
            place,
            id,
            parent: None,
            name: &noise(n),
            slug: "",
            sort_order: 0,
            version: 2,
        });
    }
    assert!(encode(&tree, 1).is_ok());
    assert_eq!(encode(&tree, 0), Err(parts::PartError::Full));
}

#[test]
fn the_tree_is_shown_as_deep_as_asked() {
    let mut tree = with(&chain(3), 5, Some(0));
    tree = tree
        .relabel(id(5), &labels("A \"name\" é", "a", -1))
        .unwrap()
        .tree;
    let leaf = json!({"id": id(2), "name": "C", "slug": "c-2", "level": 2, "sort_order": 0, "children": []});
    let inner = json!({"id": id(1), "name": "C", "slug": "c-1", "level": 1, "sort_order": 0, "children": [leaf]});
    let first = json!({"id": id(5), "name": "A \"name\" é", "slug": "a", "level": 1, "sort_order": -1, "children": []});
    let top = json!({"id": id(0), "name": "C", "slug": "c-0", "level": 0, "sort_order": 0, "children": [first, inner]});
    assert_eq!(rendered(&tree, None, MOST_DEPTH), json!({"data": [top]}));
    assert_eq!(rendered(&tree, Some(2), 1), json!({"data": [leaf]}));
    let mut bare = inner.clone();
    bare["children"] = json!([]);
    assert_eq!(rendered(&tree, Some(1), 1), json!({"data": [bare]}));
    assert_eq!(rendered(&Tree::default(), None, 1), json!({"data": []}));
}

/// The same as a tree, said as plainly as possible.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<usize, (Option<usize>, i32, u64)>);

impl Model {
    fn path(&self, n: usize) -> Vec<usize> {
        let mut path = vec![n];
        while let Some(parent) = self.0[&path[0]].0 {
            path.insert(0, parent);
        }
        path
    }

    fn is_below(&self, n: usize, root: usize) -> bool {
        self.path(n).contains(&root)
    }

    fn json(&self, parent: Option<usize>, level: usize) -> Value {
        let mut children: Vec<_> = self.0.iter().filter(|(_, node)| node.0 == parent).collect();
        children.sort_by_key(|(n, node)| (node.1, format!("n{n}"), **n));
        let shown = |(n, node): (&usize, &(Option<usize>, i32, u64))| {
            json!({"id": id(*n), "name": format!("n{n}"), "slug": format!("s-{n}"), "level": level,
                "sort_order": node.1, "children": self.json(Some(*n), level + 1)})
        };
        children.into_iter().map(shown).collect()
    }
}

#[derive(Clone, Debug)]
enum Act {
    Create(usize, Option<usize>, i32),
    Move(usize, Option<usize>, Option<i32>),
    Relabel(usize, i32),
    Delete(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let n = || 0_usize..24;
    let parent = || prop::option::weighted(0.8, 0_usize..24);
    prop_oneof![
        4 => (n(), parent(), -2..3).prop_map(|(n, parent, order)| Act::Create(n, parent, order)),
        4 => (n(), parent(), prop::option::of(-2..3)).prop_map(|(n, to, order)| Act::Move(n, to, order)),
        1 => (n(), -2..3).prop_map(|(n, order)| Act::Relabel(n, order)),
        1 => n().prop_map(Act::Delete),
    ]
}

proptest! {
    #[test]
    fn the_tree_is_what_the_acts_make_of_a_plain_one(acts in prop::collection::vec(act(), 1..60)) {
        let (mut tree, mut model) = (Tree::default(), Model::default());
        let named = |n: usize, order| labels(&format!("n{n}"), &format!("s-{n}"), order);
        for act in acts {
            let has = |n: Option<usize>| n.is_none_or(|n| model.0.contains_key(&n));
            let before = model.clone();
            let (changed, allowed) = match act {
                Act::Create(n, parent, order) => {
                    let allowed = !has(Some(n)) && has(parent);
                    if allowed {
                        model.0.insert(n, (parent, order, 1));
                    }
                    (tree.create(id(n), &named(n, order), parent.map(id)), allowed)
                }
                Act::Move(n, to, order) => {
                    let allowed = has(Some(n)) && has(to)
                        && to.is_none_or(|to| !before.is_below(to, n));
                    if allowed {
                        for (other, node) in &mut model.0 {
                            if before.is_below(*other, n) {
                                node.2 += 1;
                            }
                        }
                        let node = model.0.get_mut(&n).unwrap();
                        (node.0, node.1) = (to, order.unwrap_or(node.1));
                    }
                    (tree.relocate(id(n), to.map(id), order), allowed)
                }
                Act::Relabel(n, order) => {
                    let allowed = has(Some(n));
                    if let Some(node) = model.0.get_mut(&n) {
                        (node.1, node.2) = (order, node.2 + 1);
                    }
                    (tree.relabel(id(n), &named(n, order)), allowed)
                }
                Act::Delete(n) => {
                    let allowed = has(Some(n)) && !before.0.values().any(|node| node.0 == Some(n));
                    if allowed {
                        model.0.remove(&n);
                    }
                    (tree.delete(id(n)), allowed)
                }
            };
            prop_assert_eq!(changed.is_ok(), allowed, "{:?}", changed);
            let Ok(Change { tree: next, touched }) = changed else { continue };
            prop_assert_eq!(next.version, tree.version + 1);
            for part in (0..PARTS).filter(|part| !touched.contains(part)) {
                prop_assert_eq!(encode(&next, part), encode(&tree, part));
            }
            tree = next;
            let stored = read_back(&tree);
            for (n, node) in &model.0 {
                let category = stored.category(id(*n)).unwrap();
                let path = model.path(*n);
                prop_assert_eq!(category.level, path.len() - 1);
                prop_assert_eq!(category.path, path.into_iter().map(id).collect::<Vec<_>>());
                prop_assert_eq!(category.version, node.2);
                let mut within = stored.within(stored.find(id(*n)).unwrap());
                within.sort_unstable();
                let expected = model.0.keys().filter(|other| model.is_below(**other, *n));
                prop_assert_eq!(within, expected.copied().map(id).collect::<Vec<_>>());
            }
            prop_assert_eq!(stored.len(), model.0.len());
            prop_assert_eq!(rendered(&stored, None, MOST_DEPTH), json!({"data": model.json(None, 0)}));
        }
    }

    #[test]
    fn any_bytes_are_a_part_or_not(bytes: Vec<u8>, at: prop::sample::Index, to: u8) {
        let _ = decode(&bytes, 3, &mut Tree::default());
        let mut part = encode(&chain(40), 3).unwrap();
        let at = at.index(part.len());
        part[at] = to;
        let mut read = Tree::default();
        let _ = decode(&part, 3, &mut read);
        let _ = render(&read, None, MOST_DEPTH);
    }
}
