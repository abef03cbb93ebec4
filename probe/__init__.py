"""Probes on vantage points: they measure, record facts, and judge nothing."""
