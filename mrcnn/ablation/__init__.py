"""Matched, seeded comparisons of settings: what does the Edge Agreement Head do on my data?"""
