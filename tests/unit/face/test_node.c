/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "node.h"

static const struct nfs_fsid root_fsid = {.major = 1, .minor = 0};

static struct nfs_fh make_fh(uint64_t number)
{
	struct nfs_fh fh = {.len = 16};
	memcpy(fh.data, &number, sizeof(number));
	return fh;
}

static struct nfs_attr make_attr(uint64_t fileid, uint64_t change)
{
	struct nfs_attr attr = {
		.type = NF4REG, .fsid = root_fsid, .fileid = fileid, .change = change};
	nfs_bitmap_set(&attr.have, FATTR4_TYPE);
	nfs_bitmap_set(&attr.have, FATTR4_FSID);
	nfs_bitmap_set(&attr.have, FATTR4_FILEID);
	nfs_bitmap_set(&attr.have, FATTR4_CHANGE);
	return attr;
}

static enum node_cached open_at(struct node_table *table, struct node *node, uint64_t change)
{
	struct nfs_attr attr = make_attr(1, change);
	return node_note_open(table, node, &attr, false);
}

static struct node *lookup(struct node_table *table, uint64_t number)
{
	struct nfs_fh fh = make_fh(number);
	struct nfs_attr attr = make_attr(number, 1);
	struct node *node = node_get(table, &fh, &attr, true);
	assert_non_null(node);
	return node;
}

static int setup(void **state)
{
	struct node_table *table;
	assert_int_equal(node_table_new(&root_fsid, &table), 0);
	assert_int_equal(lookup(table, 1000)->id, NODE_ROOT_ID);
	*state = table;
	return 0;
}

static int teardown(void **state)
{
	node_table_free(*state);
	return 0;
}

static void test_same_handle_same_node(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	assert_ptr_equal(lookup(table, 1), node);
	assert_ptr_not_equal(lookup(table, 2), node);
	assert_int_equal(node_table_count(table), 3);
}

static void test_forget_drops_at_the_last_reference(void **state)
{
	struct node_table *table = *state;
	uint64_t id = lookup(table, 1)->id;
	lookup(table, 1);
	lookup(table, 1);
	node_forget(table, id, 2);
	struct node *node = node_find(table, id);
	assert_non_null(node);
	node_forget(table, id, 1);
	assert_int_equal(node_table_count(table), 2); /* the pin holds it */
	node_unpin(table, node);
	assert_int_equal(node_table_count(table), 1);
	assert_null(node_find(table, id));
}

static void test_forget_more_than_known_is_harmless(void **state)
{
	struct node_table *table = *state;
	uint64_t id = lookup(table, 1)->id;
	node_forget(table, id, 100);
	node_forget(table, id, 1);
	node_forget(table, 12345, 1);
	assert_int_equal(node_table_count(table), 1);
}

static void test_root_stays(void **state)
{
	struct node_table *table = *state;
	node_forget(table, NODE_ROOT_ID, 1);
	struct node *root = node_find(table, NODE_ROOT_ID);
	assert_non_null(root);
	node_unpin(table, root);
}

static void test_ids_are_never_used_again(void **state)
{
	struct node_table *table = *state;
	uint64_t id = lookup(table, 1)->id;
	node_forget(table, id, 1);
	assert_int_not_equal(lookup(table, 1)->id, id);
}

static void test_handle_used_for_another_object(void **state)
{
	struct node_table *table = *state;
	struct node *file = lookup(table, 1);
	struct nfs_fh fh = make_fh(1);
	struct nfs_attr attr = make_attr(1, 1);
	attr.type = NF4DIR;
	struct node *dir = node_get(table, &fh, &attr, true);
	assert_ptr_not_equal(dir, file);
	assert_int_not_equal(dir->id, file->id);
}

static void test_many_nodes(void **state)
{
	struct node_table *table = *state;
	const uint64_t n = 20000;
	for (uint64_t i = 1; i <= n; i++)
		lookup(table, 100000 + i);
	assert_int_equal(node_table_count(table), n + 1);
	for (uint64_t i = 1; i <= n; i++) {
		struct nfs_fh fh = make_fh(100000 + i);
		struct node *node = node_find_fh(table, &fh);
		assert_non_null(node);
		assert_int_equal(node->ino, 100000 + i);
		uint64_t id = node->id;
		node_unpin(table, node);
		node_forget(table, id, 1);
	}
	assert_int_equal(node_table_count(table), 1);
}

/* Of a node, and of another object that it names, where both are on that file system. */
static uint64_t ino_of(struct node_table *table, const struct nfs_fsid *fsid, uint64_t fileid)
{
	struct nfs_fh fh = make_fh(fileid);
	struct nfs_attr attr = make_attr(fileid, 1);
	attr.fsid = *fsid;
	struct node *node = node_get(table, &fh, &attr, false);
	uint64_t ino = node->ino;
	assert_int_equal(node_ino(table, node, fileid), ino);
	node_unpin(table, node);
	return ino;
}

static void test_inode_numbers_across_file_systems(void **state)
{
	struct node_table *table = *state;
	assert_int_equal(ino_of(table, &root_fsid, 42), 42);
	uint64_t seen[200];
	for (uint64_t i = 0; i < 200; i++) {
		struct nfs_fsid fsid = {.major = 7, .minor = i};
		seen[i] = ino_of(table, &fsid, 42);
		assert_int_not_equal(seen[i], 42);
		assert_int_equal(ino_of(table, &fsid, 42), seen[i]);
		for (uint64_t j = 0; j < i; j++)
			assert_int_not_equal(seen[i], seen[j]);
	}
	/* The same numbers in another mount, whatever was met first there. */
	struct node_table *other;
	assert_int_equal(node_table_new(&root_fsid, &other), 0);
	for (uint64_t i = 200; i-- > 0;) {
		struct nfs_fsid fsid = {.major = 7, .minor = i};
		assert_int_equal(ino_of(other, &fsid, 42), seen[i]);
	}
	node_table_free(other);
}

static void test_page_cache_follows_the_change_attribute(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 5);
	assert_int_equal(open_at(table, node, 5), NODE_CACHED_STALE);
	assert_int_equal(open_at(table, node, 5), NODE_CACHED_FRESH);
	assert_false(node_note_attr(table, node, &attr));
	attr.change = 6;
	assert_true(node_note_attr(table, node, &attr)); /* changed elsewhere: once */
	assert_false(node_note_attr(table, node, &attr));
	attr.change = 7;
	assert_true(node_note_attr(table, node, &attr)); /* and once more */
	assert_int_equal(open_at(table, node, 7), NODE_CACHED_STALE);
	node_note_dropped(table, node, 7);
	assert_int_equal(open_at(table, node, 7), NODE_CACHED_FRESH);
	assert_int_equal(open_at(table, node, 8), NODE_CACHED_STALE);
	node_note_dropped(table, node, 8);
	node_note_unknown(table, node);
	assert_int_equal(open_at(table, node, 8), NODE_CACHED_STALE);
}

/* One open has the old pages dropped, and another comes before that has happened. */
static void test_pages_are_not_fresh_before_the_old_ones_are_dropped(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 6);
	open_at(table, node, 5);
	assert_int_equal(open_at(table, node, 6), NODE_CACHED_STALE);
	assert_int_equal(open_at(table, node, 6), NODE_CACHED_STALE);
	node_note_dropped(table, node, 6);
	assert_int_equal(open_at(table, node, 6), NODE_CACHED_FRESH);
	/* the same where attributes had them dropped */
	attr.change = 7;
	assert_true(node_note_attr(table, node, &attr));
	assert_int_equal(open_at(table, node, 7), NODE_CACHED_STALE);
	/* what was dropped when the file was at 7 says nothing of 8 */
	assert_int_equal(open_at(table, node, 8), NODE_CACHED_STALE);
	node_note_dropped(table, node, 7);
	assert_int_equal(open_at(table, node, 8), NODE_CACHED_STALE);
}

struct opener {
	struct node_table *table;
	struct node *node;
	atomic_int cached; /* -1: not yet */
};

static void *open_meanwhile(void *arg)
{
	struct opener *opener = arg;
	atomic_store(&opener->cached, (int)open_at(opener->table, opener->node, 1));
	return NULL;
}

static void test_an_open_waits_for_data_that_is_stored(void **state)
{
	struct node_table *table = *state;
	struct opener opener = {.table = table, .node = lookup(table, 1), .cached = -1};
	const struct timespec pause = {.tv_nsec = 20000000};
	struct nfs_attr attr = make_attr(1, 1);
	pthread_t thread;
	node_note_attr(table, opener.node, &attr);
	assert_int_equal(node_note_open(table, opener.node, &attr, true), NODE_CACHED_ATTR);
	assert_int_equal(pthread_create(&thread, NULL, open_meanwhile, &opener), 0);
	nanosleep(&pause, NULL);
	assert_int_equal(atomic_load(&opener.cached), -1);
	node_note_stored(table, opener.node);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&opener.cached), NODE_CACHED_FRESH);
	/* what the kernel has already is not */
	assert_int_equal(node_note_open(table, opener.node, &attr, true), NODE_CACHED_FRESH);
}

static void test_local_opens(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	enum node_cached cached;
	uint64_t change;
	assert_false(node_note_local_open(table, node, false, &change, &cached));
	open_at(table, node, 5);
	assert_true(node_note_local_open(table, node, false, &change, &cached));
	assert_int_equal(change, 5);
	assert_int_equal(cached, NODE_CACHED_FRESH);
	node_note_write(table, node, 7, &(struct nfs_attr){.change = 8});
	assert_true(node_note_local_open(table, node, false, &change, &cached));
	assert_int_equal(change, 8);
	assert_int_equal(cached, NODE_CACHED_STALE);
	node_note_unknown(table, node);
	assert_false(node_note_local_open(table, node, false, &change, &cached));
}

static void test_size_of_the_highest_change(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 5);
	uint64_t change, size;
	assert_false(node_size(table, node, &change, &size));
	nfs_bitmap_set(&attr.have, FATTR4_SIZE);
	attr.size = 100;
	node_note_attr(table, node, &attr);
	attr.change = 7;
	attr.size = 300;
	node_note_write(table, node, 6, &attr);
	/* an answer that was overtaken */
	attr.change = 6;
	attr.size = 200;
	node_note_write(table, node, 5, &attr);
	assert_true(node_size(table, node, &change, &size));
	assert_int_equal(change, 7);
	assert_int_equal(size, 300);
}

/* A server's clock that stands still, or a change that was counted before it was made. */
static void test_another_size_of_the_same_change(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 5);
	nfs_bitmap_set(&attr.have, FATTR4_SIZE);
	node_note_open(table, node, &attr, false);
	assert_int_equal(node_note_open(table, node, &attr, false), NODE_CACHED_FRESH);
	attr.size = 4;
	assert_false(node_is_as(table, node, &attr));
	assert_int_equal(node_note_open(table, node, &attr, false), NODE_CACHED_STALE);
	assert_true(node_is_as(table, node, &attr));
	node_note_dropped(table, node, 5);
	assert_int_equal(node_note_open(table, node, &attr, false), NODE_CACHED_FRESH);
	attr.size = 8;
	assert_true(node_note_attr(table, node, &attr));
	assert_false(node_note_attr(table, node, &attr));
	assert_int_equal(node_note_open(table, node, &attr, false), NODE_CACHED_STALE);
}

static void test_forgotten_while_delegated(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_fh fh = {0};
	uint64_t id = node->id;
	lookup(table, 1);
	node_set_delegated(table, node, true);
	assert_true(node_is_delegated(table, node));
	assert_false(node_forget_delegated(table, id, 1, &fh));
	assert_true(node_forget_delegated(table, id, 1, &fh));
	assert_int_not_equal(fh.len, 0);
	node = lookup(table, 1);
	assert_false(node_is_delegated(table, node));
	assert_false(node_forget_delegated(table, node->id, 1, &fh));
}

static void test_known_attributes_without_pages(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 5);
	node_note_attr(table, node, &attr);
	assert_int_equal(open_at(table, node, 5), NODE_CACHED_ATTR);
}

static void test_own_writes_keep_the_page_cache(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	open_at(table, node, 5);
	node_note_write(table, node, 5, &(struct nfs_attr){.change = 6});
	assert_int_equal(open_at(table, node, 6), NODE_CACHED_FRESH);
	/* Somebody else wrote between: 6 to 7 was not ours. */
	node_note_write(table, node, 7, &(struct nfs_attr){.change = 8});
	assert_int_equal(open_at(table, node, 8), NODE_CACHED_STALE);
}

static void test_hold_doubles_while_nothing_changes(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 5);
	node_note_attr(table, node, &attr);
	assert_int_equal(node_hold_ms(table, node, 3000, 10000), 3000);
	node_note_attr(table, node, &attr);
	assert_int_equal(node_hold_ms(table, node, 3000, 10000), 6000);
	node_note_attr(table, node, &attr);
	assert_int_equal(node_hold_ms(table, node, 3000, 10000), 10000);
	attr.change++;
	node_note_attr(table, node, &attr);
	assert_int_equal(node_hold_ms(table, node, 3000, 10000), 3000);
}

static void test_open_files_are_found_by_name(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	node_set_name(table, node, NODE_ROOT_ID, "a", 1);
	assert_null(node_find_open(table, NODE_ROOT_ID, "a", 1));
	assert_int_equal(node_opened(table, node), 0);
	struct node *found = node_find_open(table, NODE_ROOT_ID, "a", 1);
	assert_ptr_equal(found, node);
	node_unpin(table, found);
	assert_null(node_find_open(table, NODE_ROOT_ID, "b", 1));
	assert_null(node_find_open(table, 77, "a", 1));
	assert_null(node_closed(table, node));
	assert_null(node_find_open(table, NODE_ROOT_ID, "a", 1));
}

static void test_parent(void **state)
{
	struct node_table *table = *state;
	struct node *dir = lookup(table, 1), *node = lookup(table, 2);
	/* not known yet, or forgotten: its own */
	assert_int_equal(node_parent_ino(table, node), node->ino);
	node_set_name(table, node, dir->id, "a", 1);
	assert_int_equal(node_parent_ino(table, node), dir->ino);
	assert_int_not_equal(dir->ino, node->ino);
	node_forget(table, dir->id, 1);
	assert_int_equal(node_parent_ino(table, node), node->ino);
}

static void test_silly_name_goes_with_the_last_close(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	struct node_silly silly = {0};
	assert_ptr_equal(node_set_silly(table, node, &silly), &silly); /* never opened */
	assert_false(node_is_silly(table, node));
	assert_int_equal(node_opened(table, node), 0);
	assert_int_equal(node_opened(table, node), 0);
	assert_null(node_set_silly(table, node, &silly));
	assert_true(node_is_silly(table, node));
	assert_null(node_closed(table, node));
	assert_ptr_equal(node_closed(table, node), &silly);
	assert_ptr_equal(node_set_silly(table, node, &silly), &silly); /* not open any more */
	assert_false(node_is_silly(table, node));
}

static void test_each_open_file_hears_once_of_an_error(void **state)
{
	struct node_table *table = *state;
	struct node *node = lookup(table, 1);
	assert_int_equal(node_opened(table, node), 0);
	uint32_t a = node_error_mark(table, node), b = node_error_mark(table, node);
	assert_int_equal(node_error_since(table, node, &a), 0);
	node_set_error(table, node, -28);
	/* one that was opened before anybody has heard of it hears, too */
	uint32_t c = node_error_mark(table, node);
	assert_int_equal(node_error_since(table, node, &a), -28);
	assert_int_equal(node_error_since(table, node, &a), 0);
	uint32_t d = node_error_mark(table, node);
	node_set_error(table, node, -5);
	assert_int_equal(node_error_since(table, node, &b), -5);
	assert_int_equal(node_error_since(table, node, &b), 0);
	assert_int_equal(node_error_since(table, node, &a), -5);
	assert_int_equal(node_error_since(table, node, &c), -5);
	assert_int_equal(node_error_since(table, node, &d), -5);
	uint32_t e = node_error_mark(table, node);
	assert_int_equal(node_error_since(table, node, &e), 0);
}

static void wrote(struct node_table *table, struct node *node, struct node_span *span,
	uint64_t before, uint64_t after, bool last)
{
	struct nfs_attr attr = make_attr(1, after);
	node_note_writes(table, node, span, before, &attr, last);
}

/* A file whose pages are those of change 5, after that. */
static struct node *with_pages(struct node_table *table, uint64_t number)
{
	struct node *node = lookup(table, number);
	open_at(table, node, 5);
	node_note_dropped(table, node, 5);
	assert_int_equal(open_at(table, node, 5), NODE_CACHED_FRESH);
	return node;
}

static void test_writes_whose_answers_come_in_any_order(void **state)
{
	struct node_table *table = *state;
	struct node_span span = {0};
	struct node *node = with_pages(table, 1);
	wrote(table, node, &span, 5, 6, false);
	wrote(table, node, &span, 6, 7, true);
	assert_int_equal(open_at(table, node, 7), NODE_CACHED_FRESH);
	/* each may have seen the others' changes */
	wrote(table, node, &span, 8, 10, false);
	wrote(table, node, &span, 7, 9, false);
	wrote(table, node, &span, 9, 9, true);
	assert_int_equal(open_at(table, node, 10), NODE_CACHED_FRESH);
	/* one that is older is still under way: the pages are not yet known to be of this change */
	wrote(table, node, &span, 11, 12, false);
	assert_int_equal(open_at(table, node, 12), NODE_CACHED_STALE);
}

static void test_writes_behind_a_change_of_others(void **state)
{
	struct node_table *table = *state;
	struct node_span span = {0};
	struct node *node = with_pages(table, 1);
	wrote(table, node, &span, 8, 9, false);
	wrote(table, node, &span, 9, 10, true);
	assert_int_equal(open_at(table, node, 10), NODE_CACHED_STALE);
	/* and before the page cache was: it has more than they say */
	node = with_pages(table, 2);
	wrote(table, node, &span, 4, 6, true);
	assert_int_equal(open_at(table, node, 6), NODE_CACHED_STALE);
}

static void test_names_are_listed_until_a_change_is_seen(void **state)
{
	struct node_table *table = *state;
	struct node *dir = lookup(table, 1);
	struct nfs_attr attr = make_attr(1, 5);
	node_note_listed(table, dir, 100); /* at a change that is not known */
	assert_false(node_is_listed(table, dir, 100));
	node_note_attr(table, dir, &attr);
	assert_false(node_is_listed(table, dir, 100));
	node_note_listed(table, dir, 100);
	assert_true(node_is_listed(table, dir, 100));
	assert_false(node_is_listed(table, dir, 101));
	node_note_attr(table, dir, &attr);
	assert_true(node_is_listed(table, dir, 100));
	attr.change = 6;
	node_note_attr(table, dir, &attr);
	attr.change = 5;
	node_note_attr(table, dir, &attr);
	assert_false(node_is_listed(table, dir, 100));
}

#define THREADS 4
#define TURNS	20000

/* Looks it up and forgets it, with a second pin between. */
static void *come_and_go(void *arg)
{
	struct node_table *table = arg;
	for (unsigned i = 0; i < TURNS; i++) {
		uint64_t id = lookup(table, 1)->id;
		struct node *node = node_find(table, id);
		node_unpin(table, node_pin(node));
		node_forget(table, id, 1);
		node_unpin(table, node);
	}
	return NULL;
}

static void test_the_last_pin_of_many_threads_ends_it(void **state)
{
	struct node_table *table = *state;
	pthread_t threads[THREADS];
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, table), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(node_table_count(table), 1);
}

/* With the longest handle, the emptiest hash tables, and what malloc adds. */
static void test_an_inode_takes_300_bytes_at_most(void **state)
{
	(void)state;
	size_t places = 2 * 2 * sizeof(struct node *), block = 2 * sizeof(size_t);
	assert_true(offsetof(struct node, fh_data) + NFS4_FHSIZE + places + block <= 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_inode_takes_300_bytes_at_most),
		cmocka_unit_test_setup_teardown(
			test_writes_whose_answers_come_in_any_order, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_writes_behind_a_change_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_names_are_listed_until_a_change_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_last_pin_of_many_threads_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_handle_same_node, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_forget_drops_at_the_last_reference, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_forget_more_than_known_is_harmless, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_are_never_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_handle_used_for_another_object, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_inode_numbers_across_file_systems, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_page_cache_follows_the_change_attribute, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_pages_are_not_fresh_before_the_old_ones_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_an_open_waits_for_data_that_is_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(test_local_opens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_of_the_highest_change, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_another_size_of_the_same_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_while_delegated, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_known_attributes_without_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_own_writes_keep_the_page_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_hold_doubles_while_nothing_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_files_are_found_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_silly_name_goes_with_the_last_close, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_each_open_file_hears_once_of_an_error, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
