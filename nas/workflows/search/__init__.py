"""A search: plan, loop, ledger, feasibility, finish."""
