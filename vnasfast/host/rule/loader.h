/* What libbpf says, kept for the error message instead of printed. */
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static char said[1 << 16];
static size_t said_length;

static int keep(enum libbpf_print_level level, const char *format, va_list arguments)
{
	int length;

	if (level == LIBBPF_DEBUG)
		return 0;
	length = vsnprintf(said + said_length, sizeof(said) - said_length, format, arguments);
	if (length > 0) {
		said_length += (size_t)length;
		if (said_length >= sizeof(said))
			said_length = sizeof(said) - 1;
	}
	return length;
}

static void keep_what_is_said(void)
{
	said_length = 0;
	said[0] = 0;
	libbpf_set_print(keep);
}

/* Our filter among those at the ingress of an interface; others' have other numbers. */
enum { INGRESS_HANDLE = 1, INGRESS_PRIORITY = 22081 };

/* 1: the place for filters there is new. */
static int attach_ingress(int ifindex, int program)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .handle = INGRESS_HANDLE, .priority = INGRESS_PRIORITY, .prog_fd = program,
			    .flags = BPF_TC_F_REPLACE);
	int made = bpf_tc_hook_create(&hook);
	int error;

	if (made && made != -EEXIST)
		return made;
	error = bpf_tc_attach(&hook, &filter);
	return error ? error : made == 0;
}

static int detach_ingress(int ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .handle = INGRESS_HANDLE, .priority = INGRESS_PRIORITY);

	return bpf_tc_detach(&hook, &filter);
}

/* Take the place for filters away, with all that are there. */
static void remove_ingress(int ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	bpf_tc_hook_destroy(&hook);
}

static int test_run(int program, void *context, unsigned int size, int repeat, unsigned int *answer, unsigned int *nanoseconds)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = context, .ctx_size_in = size, .repeat = repeat);
	int error = bpf_prog_test_run_opts(program, &options);

	*answer = options.retval;
	*nanoseconds = options.duration;
	return error;
}
