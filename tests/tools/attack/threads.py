def share_an_index(*a):
    pass
